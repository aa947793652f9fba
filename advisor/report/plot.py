"""Curves drawn with letters on a terminal, both axes logarithmic."""

from math import log10

from rich.console import Console
from rich.markup import escape

from advisor.report.view import Curve, Plot
from advisor.report.words import rounded

ROWS = 13
WIDEST = 88
LETTERS = "abcdefgh"
BOTH = "*"  # two curves in one place
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red", "white", "bright_black")


def plot(section: Plot, console: Console) -> None:
    """Print curves, their axes, and which letter is whose."""
    ups = [y for curve in section.curves for _, y in curve.points]
    left, right = section.curves[0].points[0][0], section.curves[0].points[-1][0]
    low, high = min(ups), max(ups)
    labels = [rounded(value) for value in (high, low)]
    margin = max(map(len, labels))
    columns = min(WIDEST, console.width - margin - 3)
    cells = _cells(section.curves, columns, (left, right), (low, max(high, low * 1.01)))
    console.print(f"[bold]{escape(section.title)}[/] [dim]{escape(section.up)}[/]")
    for number, row in enumerate(cells):
        label = {0: labels[0], ROWS - 1: labels[1]}.get(number, "")
        console.print(f"{label.rjust(margin)} |{''.join(map(_coloured, row))}", no_wrap=True)
    start, end = _count(left), _count(right)
    console.print(f"{' ' * margin} +{'-' * columns}", no_wrap=True)
    gap = " " * max(1, columns - len(start) - len(end))
    console.print(f"{' ' * (margin + 2)}{start}{gap}{end}", no_wrap=True)
    console.print(f"{' ' * (margin + 2)}{escape(section.across)}", style="dim")
    for letter, curve in zip(LETTERS, section.curves, strict=False):
        console.print(f"  {_coloured(letter)}  {escape(curve.label)}")
    if section.note:
        console.print(escape(section.note), style="dim")


def _cells(
    curves: tuple[Curve, ...],
    columns: int,
    across: tuple[float, float],
    up: tuple[float, float],
) -> list[list[str]]:
    cells = [[" "] * columns for _ in range(ROWS)]
    for letter, curve in zip(LETTERS, curves, strict=False):
        for column in range(columns):
            x = across[0] * (across[1] / across[0]) ** (column / max(1, columns - 1))
            share = log10(_at(curve, x) / up[0]) / log10(up[1] / up[0])
            row = ROWS - 1 - min(ROWS - 1, max(0, round(share * (ROWS - 1))))
            taken = cells[row][column]
            cells[row][column] = letter if taken == " " else BOTH
    return cells


def _at(curve: Curve, x: float) -> float:
    """The height of a curve, straight between its points on logarithmic axes."""
    before = curve.points[0]
    for after in curve.points[1:]:
        if x <= after[0]:
            share = log10(x / before[0]) / log10(after[0] / before[0])
            return float(before[1] * (after[1] / before[1]) ** max(0.0, share))
        before = after
    return before[1]


def _coloured(cell: str) -> str:
    if cell not in LETTERS:
        return cell
    return f"[{COLOURS[LETTERS.index(cell)]}]{cell}[/]"


def _count(value: float) -> str:
    return f"{value:,.0f}"
