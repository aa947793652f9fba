"""`advisor update`: an index follows its documents."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

import backends
from advisor.cli.output import common, notes, print_json, screen
from advisor.cli.progress import Bar
from backends import runner
from knowledge.errors import UserError


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--corpus", type=click.Path(path_type=Path), help="Its documents, if they moved [as indexed]."
)
@click.option(
    "--delete", multiple=True, metavar="NAME", help="Drop a file or document; repeatable."
)
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C, with every change of the folder.")
@common
def update(
    run_dir: Path,
    corpus: Path | None,
    delete: tuple[str, ...],
    watch: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Index what is new or changed, drop what is gone; the rest stays as it is.

    Readers go on meanwhile; an interrupted update leaves the index as it was.
    """
    if delete and (watch or corpus is not None):
        raise UserError("--delete goes with neither --watch nor --corpus; give one at a time")
    backend = backends.load(runner.last_step(run_dir).method)
    console = notes(quiet=quiet)
    options: dict[str, Any] = {"delete": delete} if delete else {}
    if corpus is not None:
        if not corpus.exists():
            raise UserError(f"no folder or file {str(corpus)!r}; check the path")
        options["corpus"] = str(corpus.resolve())

    def told(change: Any) -> None:
        if as_json:
            print_json(change)
        else:
            _show(change, screen(), console)

    with Bar(console) as bar:
        if not watch:
            change = backend.update(run_dir, progress=bar, **options)
        else:
            console.print(f"watching the documents of {run_dir}; Ctrl-C ends it", markup=False)
            backend.update(run_dir, watch=True, changed=told, progress=bar, **options)
            return
    told(change)


def _show(change: Any, out: Console, console: Console) -> None:
    if not (change.added or change.replaced or change.deleted):
        out.print(f"nothing changed: {change.unchanged:,} sources, {change.passages:,} passages")
    else:
        out.print(
            f"{change.added:,} added, {change.replaced:,} replaced, {change.deleted:,} deleted, "
            f"{change.unchanged:,} unchanged: {change.embedded:,} of {change.passages:,} passages "
            f"embedded in {change.seconds:.1f} s"
        )
    for note in change.notes:
        console.print(note, markup=False)
