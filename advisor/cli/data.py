"""`advisor data`."""

from pathlib import Path

import click

from advisor.cli.output import common, print_json, screen
from advisor.report.datasets import view
from advisor.report.terminal import show
from backends import data as reading


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--other", type=click.Path(path_type=Path), help="Count what it shares with this file."
)
@click.option("--shape", help="Take it as this shape instead of detecting one.")
@click.option(
    "--column", "columns", multiple=True, metavar="ROLE=NAME", help="Which column is what."
)
@common
def data(
    file: Path,
    other: Path | None,
    shape: str | None,
    columns: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """What a training file holds: shape, counts, lengths, duplicates, overlap, one sample."""
    named = dict(_pair(pair) for pair in columns)
    dataset = reading.read(file, shape=shape, columns=named or None)
    beside = reading.read(other, shape=shape, columns=named or None) if other else None
    facts = reading.report(dataset, beside)
    if as_json:
        print_json(facts)
        return
    show(view(facts), screen())


def _pair(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals or not role or not name:
        raise click.BadParameter(f"{text!r} is not ROLE=NAME, as in text=utterance")
    return role, name
