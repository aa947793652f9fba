"""The view of approach by model size."""

from advisor.estimates.grid import Cell, Grid
from advisor.report.view import Line, Table, Text, View
from advisor.report.words import dated, rounded
from knowledge.quantities import HOURS_A_MONTH, Range

DAY = 24.0


def view(found: Grid) -> View:
    """The report of a grid: in each cell GPUs and time, dollars, and their interval."""
    width = len(found.models)
    rows = []
    for number, row in enumerate(found.approaches):
        cells = found.cells[number * width : (number + 1) * width]
        rows.append((f"{row.id}{_per(row.monthly)}", *map(_shown, cells)))
    return View(
        title="Approach by model size",
        answer=(f"Approach by model size, on {found.gpu}",),
        sections=(
            Table("GPUs x time, USD, interval", ("", *found.models), tuple(rows)),
            Text("Assumed", tuple(Line(said) for said in found.assumptions)),
        ),
        footer=(dated(found.prices_as_of),),
    )


def _per(monthly: bool) -> str:
    return "\na month" if monthly else ""


def _shown(cell: Cell) -> str:
    if cell.usd is None:
        return cell.why.partition(";")[0] if len(cell.why) < 20 else "does not fit"
    gpus = "" if cell.n_gpus is None else f"{cell.n_gpus:,} x "
    time = "month" if cell.monthly and cell.n_gpus else _time(cell.hours)
    least = "at least " if cell.at_least else ""
    lines = (f"{gpus}{time}", f"{least}${_usd(cell.usd.mid)}", _between(cell.usd))
    return "\n".join(line for line in lines if line)


def _between(usd: Range) -> str:
    low, high = _usd(usd.low), _usd(usd.high)
    return "" if low == high else f"{low}-{high}"


def _usd(value: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (size if size > 1e4 else 1e3):.3g}{letter}"
    return "<0.01" if 0 < value < 0.01 else rounded(value)


def _time(hours: Range | None) -> str:
    if hours is None:
        return ""
    if hours.mid >= 2 * HOURS_A_MONTH:
        return f"{rounded(hours.mid / HOURS_A_MONTH)} mo"
    if hours.mid >= 2 * DAY:
        return f"{rounded(hours.mid / DAY)} d"
    if hours.mid >= 1:
        return f"{rounded(hours.mid)} h"
    return f"{rounded(hours.mid * 60)} min"
