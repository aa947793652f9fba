"""`advisor catalog`: what is known, with source and date."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from advisor.cli.output import common, print_json, screen
from advisor.report.words import dated, rounded
from knowledge import evidence, gpus, methods, models, prices, rules
from knowledge.errors import UserError, unknown

Rows = Mapping[str, Any]
KINDS: Mapping[str, Callable[[], Rows]] = {
    "models": models.table,
    "gpus": gpus.table,
    "prices": lambda: {**prices.gpu_table(), **prices.api_table()},
    "methods": methods.table,
    "rules": rules.table,
    "evidence": evidence.table,
}
FINDERS: Mapping[str, Callable[[str], Any]] = {
    "models": models.find,
    "gpus": gpus.find,
    "methods": methods.find,
    "rules": rules.find,
    "evidence": evidence.find,
}


@click.command()
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.argument("row", metavar="[ID]", required=False)
@click.option(
    "--import", "file", type=click.Path(path_type=Path), metavar="FILE",
    help="prices: take over a list on disk (LiteLLM's JSON, a SkyPilot CSV) into prices.yaml.",
)  # fmt: skip
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The day the list is from.")
@click.option("--dry-run", is_flag=True, help="Show what would change, write nothing.")
@common
def catalog(
    kind: str,
    row: str | None,
    file: Path | None,
    as_of: dt.datetime | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """What is known, each row with its source and date."""
    if file is not None:
        if kind != "prices" or row is not None:
            raise UserError("--import goes with prices alone: advisor catalog prices --import FILE")
        from advisor.cli.price_import import imported  # only an import reads lists

        imported(file, as_of.date() if as_of else None, write=not dry_run, as_json=as_json)
        return
    rows = KINDS[kind]()
    if row is not None:
        show_row(one(kind, row), as_json=as_json)
        return
    if as_json:
        print_json(list(rows.values()))
        return
    out = screen()
    if kind == "prices":
        _prices(out)
    else:
        out.print(_table(kind, rows))
    if not quiet:
        out.print(f"{len(rows)} rows; one in full: advisor catalog {kind} ID", style="dim")


def one(kind: str, name: str) -> Any:
    """The row that a name means.

    Raises:
        UserError: unknown, with the nearest names.
    """
    if kind in FINDERS:
        return FINDERS[kind](name)
    rows = KINDS[kind]()
    if name not in rows:
        raise unknown("price", name, rows)
    return rows[name]


def show_row(row: Any, *, as_json: bool) -> None:
    """A row in full: every field that is known."""
    if as_json:
        print_json(row)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in msgspec.to_builtins(row).items():
        if value not in (None, "", [], {}, ()):
            table.add_row(name, escape(_said(value)))
    screen().print(table)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_said(inner) for inner in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and abs(value) >= 1e4:
        return f"{value:,.0f}"
    return str(value)


def _table(kind: str, rows: Rows) -> Table:
    makers: Mapping[str, tuple[tuple[str, ...], Callable[[Any], tuple[str, ...]]]] = {
        "models": (("id", "parameters", "context", "licence", "status"), _model),
        "gpus": (("id", "memory GB", "bandwidth GB/s", "bf16 TFLOP/s", "status"), _gpu),
        "methods": (("id", "runs here", "what it is"), _method),
        "rules": (("id", "kind", "says"), lambda r: (r.id, r.kind, r.says)),
        "evidence": (
            ("id", "strength", "status", "claim"),
            lambda r: (r.id, r.strength, r.status, r.claim),
        ),
    }
    columns, cells = makers[kind]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows.values():
        table.add_row(*(escape(cell) for cell in cells(row)))
    return table


def _model(row: models.Model) -> tuple[str, ...]:
    count = row.architecture().parameters()
    shown = f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
    return row.id, shown, f"{row.context:,}", row.licence, row.status


def _gpu(row: gpus.Gpu) -> tuple[str, ...]:
    peak = row.peak("bf16")
    shown = "unknown" if peak is None else rounded(peak / 1e12)
    return row.id, f"{row.memory_gb:g}", f"{row.bandwidth_gb_s:g}", shown, row.status


def _method(row: methods.Method) -> tuple[str, ...]:
    return row.id, "yes" if row.backend else "estimated", row.says


def _prices(out: Console) -> None:
    rented = Table("GPU", "USD an hour", "clouds", "dates", box=None, padding=(0, 2, 0, 0))
    for name, cells in _quotes():
        rented.add_row(name, *cells)
    out.print("Rented GPUs (quartiles over clouds, dated offers only)", style="bold")
    out.print(rented)
    table = Table(
        "model", "in", "out", "cached in", "date", "status", box=None, padding=(0, 2, 0, 0)
    )
    for row in prices.api_table().values():
        figures = (row.input, row.output, row.cached)
        shown = ("unknown" if figure is None else f"{figure:g}" for figure in figures)
        table.add_row(row.id, *shown, str(row.date or "no date: not used"), row.status)
    out.print(f"{dated(prices.snapshot('gpu'))} A price of your own goes first.", style="dim")
    out.print("\nModels behind an API (USD per million tokens)", style="bold")
    out.print(table)


def _quotes() -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in gpus.table():
        quote = prices.quote(name)
        if quote is not None:
            spread = f"{quote.range.mid:.2f} ({quote.range.low:.2f} to {quote.range.high:.2f})"
            yield name, (spread, str(quote.clouds), f"{quote.oldest} to {quote.newest}")
