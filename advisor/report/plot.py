"""Curves drawn with letters on a terminal."""

from collections.abc import Callable, Iterator
from math import log10

from advisor.report.layout import Piece, Row, wrapped
from advisor.report.view import Curve, Plot
from advisor.report.words import rounded

ROWS = 13
WIDEST = 88
LETTERS = "abcdefgh"
BOTH = "*"  # two curves in one place
COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red", "white", "bright_black")


def plot(section: Plot, width: int) -> Iterator[Row]:
    """Curves, their axes, and which letter is whose."""
    ups = [y for curve in section.curves for _, y in curve.points]
    left, right = section.curves[0].points[0][0], section.curves[0].points[-1][0]
    low, high = min(ups), max(ups)
    labels = [rounded(value) for value in (high, low)]
    margin = max(map(len, labels))
    columns = min(WIDEST, width - margin - 3)
    scale = log10 if section.logarithmic else float
    cells = _cells(section.curves, columns, (left, right), (low, max(high, low * 1.01)), scale)
    yield (Piece(section.title, "bold"), Piece(" "), Piece(section.up, "dim"))
    for number, row in enumerate(cells):
        label = {0: labels[0], ROWS - 1: labels[1]}.get(number, "")
        yield (Piece(f"{label.rjust(margin)} |"), *map(_coloured, row))
    start, end = _count(left), _count(right)
    yield (Piece(f"{' ' * margin} +{'-' * columns}"),)
    gap = " " * max(1, columns - len(start) - len(end))
    yield (Piece(f"{' ' * (margin + 2)}{start}{gap}{end}"),)
    yield (Piece(f"{' ' * (margin + 2)}{section.across}", "dim"),)
    for letter, curve in zip(LETTERS, section.curves, strict=False):
        first, *rest = wrapped(curve.label, width - 5)
        yield (Piece("  "), _coloured(letter), Piece(f"  {first}"))
        for line in rest:
            yield (Piece(f"     {line}"),)


def _cells(
    curves: tuple[Curve, ...],
    columns: int,
    across: tuple[float, float],
    up: tuple[float, float],
    scale: Callable[[float], float],
) -> list[list[str]]:
    cells = [[" "] * columns for _ in range(ROWS)]
    for letter, curve in zip(LETTERS, curves, strict=False):
        for column in range(columns):
            along = column / max(1, columns - 1)
            x = scale(across[0]) + along * (scale(across[1]) - scale(across[0]))
            share = (_at(curve, x, scale) - scale(up[0])) / (scale(up[1]) - scale(up[0]))
            row = ROWS - 1 - min(ROWS - 1, max(0, round(share * (ROWS - 1))))
            taken = cells[row][column]
            cells[row][column] = letter if taken == " " else BOTH
    return cells


def _at(curve: Curve, x: float, scale: Callable[[float], float]) -> float:
    """The height of a curve, straight between its points on the axes' scale."""
    before = curve.points[0]
    for after in curve.points[1:]:
        if x <= scale(after[0]):
            span = scale(after[0]) - scale(before[0])
            share = max(0.0, (x - scale(before[0])) / span) if span else 0.0
            return scale(before[1]) + share * (scale(after[1]) - scale(before[1]))
        before = after
    return scale(before[1])


def _coloured(cell: str) -> Piece:
    return Piece(cell, COLOURS[LETTERS.index(cell)] if cell in LETTERS else "")


def _count(value: float) -> str:
    return f"{value:,.0f}"
