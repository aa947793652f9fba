"""`advisor validate`: predictions against published measurements and decisions."""

from pathlib import Path

import click

from advisor.cli.output import common, print_json
from advisor.report import validation
from advisor.report.terminal import show
from advisor.validate import KINDS, report


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--rows", is_flag=True, help="Every row, not only the groups.")
@common
def validate(kind: str, file: Path | None, rows: bool, as_json: bool, quiet: bool) -> None:
    """Hold the predictions against the packaged published rows, or a file of the same columns."""
    outcome = report(kind, file)
    if as_json:
        print_json(outcome)
        return
    show(validation.view(outcome, rows=rows and not quiet))
