"""`advisor predict` and `advisor evaluate`: using what a run produced."""

from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import backends
from advisor.cli.output import common, print_json, screen
from backends import runner, serve
from backends.base import Data, Metric, Prediction
from knowledge.errors import UserError
from knowledge.files import text_of


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--file", "-f", "lines", type=click.Path(path_type=Path), help="One text a line.")
@click.option("--stream", is_flag=True, help="Show one answer as it is being written.")
@common
def predict(
    run_dir: Path,
    texts: tuple[str, ...],
    lines: Path | None,
    stream: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask a finished run: a label with its confidence, or an answer with citations."""
    wanted = list(texts) if texts else []
    if lines is not None:
        wanted += [line for line in text_of(lines, "text file").splitlines() if line.strip()]
    if not wanted:
        raise UserError("no text to predict; give TEXT or --file with one text a line")
    if stream:
        if len(wanted) != 1 or as_json:
            raise UserError(f"--stream shows one text, without --json; {len(wanted)} were given")
        serve.up().stream(run_dir, wanted[0], lambda piece: click.echo(piece, nl=False))
        click.echo()
        return
    step = runner.last_step(run_dir)
    answers = list(backends.load(step.method).predict(run_dir, wanted))
    if as_json:
        print_json(answers)
        return
    out = screen()
    for answer in answers:
        _show(answer, out, quiet=quiet)


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "file",
    required=True,
    type=click.Path(path_type=Path),
    help="Labelled file, or questions.",
)
@common
def evaluate(run_dir: Path, file: Path, as_json: bool, quiet: bool) -> None:
    """Measure a finished run on other data; every figure with its 95 % interval."""
    step = runner.last_step(run_dir)
    if not file.exists():
        raise UserError(f"no file {str(file)!r}; check the path")
    path = str(file.resolve())
    data = Data(test=path, questions=path, columns=step.data.columns, shape=step.data.shape)
    metrics = backends.load(step.method).evaluate(run_dir, data)
    if as_json:
        print_json({"run": str(run_dir), "data": str(file), "metrics": metrics})
        return
    screen().print(metric_table(metrics))


def metric_table(metrics: dict[str, Metric]) -> Table:
    """Metrics as a table: value, 95 % interval, items."""
    table = Table("metric", "value", "95 % interval", "items", box=None, padding=(0, 2, 0, 0))
    for name, metric in metrics.items():
        known = metric.low is not None and metric.high is not None
        interval = f"{metric.low:.3f} to {metric.high:.3f}" if known else ""
        table.add_row(name, f"{metric.value:.3f}", interval, str(metric.n or ""))
    return table


def _show(prediction: Prediction, out: Console, *, quiet: bool) -> None:
    if prediction.label is not None:
        sure = "" if prediction.confidence is None else f"  {prediction.confidence:.2f}"
        out.print(f"{prediction.label}{sure}  {prediction.text if not quiet else ''}", markup=False)
        return
    out.print(f"Q: {prediction.text}", style="bold", markup=False)
    said = prediction.answer or ""
    out.print("no answer that is sure enough" if prediction.abstained else said, markup=False)
    for source in _citations(prediction):
        out.print(f"  {source}", style="dim", markup=False)


def _citations(prediction: Prediction) -> Iterator[str]:
    for citation in prediction.citations:
        where = " > ".join(
            str(citation[key]) for key in ("document", "heading") if citation.get(key)
        )
        first, last = citation.get("page"), citation.get("last_page")
        page = "" if first is None else f", page {first}" + (f" to {last}" if last else "")
        place = f"({citation.get('start')}-{citation.get('end')})"
        yield f"[{citation.get('n', '')}] {where}{page} {place}"
