"""A view on a terminal, readable from 80 columns up.

Laid out here and not by rich: its consoles and tables would take longer to import than an estimate
takes to make. A rich console will do as the paper all the same.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from math import log10
from typing import Any, Protocol

from advisor.report.layout import Piece, Row, clipped, table, wrapped
from advisor.report.view import Bar, Chart, Plot, Scatter, Table, Text, View
from advisor.report.words import rounded

WIDTH = 32  # characters of a chart's axis
ESCAPES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34",
    "magenta": "35", "cyan": "36", "white": "37", "bright_black": "90",
}  # fmt: skip


class Paper(Protocol):
    """What a view is printed on: a `Screen`, or a console of rich."""

    @property
    def width(self) -> int:
        """Cells of a line."""

    def out(self, *objects: Any, style: Any = None, end: str = "\n") -> None:
        """Print text as it is, in one style."""


class Screen:
    """The terminal on stdout; styles are left out where it is none, or NO_COLOR is set."""

    def __init__(self) -> None:
        self.width = shutil.get_terminal_size().columns
        shown = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        forced = bool(os.environ.get("FORCE_COLOR"))
        self.styled = (shown or forced) and not os.environ.get("NO_COLOR")

    def out(self, *objects: Any, style: Any = None, end: str = "\n") -> None:
        """Print text as it is, in one style."""
        text = " ".join(map(str, objects))
        if style and self.styled:
            text = f"\x1b[{ESCAPES[style]}m{text}\x1b[0m"
        sys.stdout.write(text + end)


def show(view: View, paper: Paper | None = None) -> None:
    """Print a view: the answer first, then its sections.

    Args:
        paper: where to; the terminal on stdout if None.
    """
    out = paper if paper is not None else Screen()
    for row in rows(view, out.width):
        for piece in row:
            out.out(piece.text, style=piece.style or None, end="")
        out.out()


def rows(view: View, width: int) -> Iterator[Row]:
    """The lines of a view."""
    first, *rest = view.answer or (view.title,)
    yield from _said(first, width, "bold")
    for line in rest:
        yield from _said(line, width)
    for section in view.sections:
        if isinstance(section, Scatter):
            continue  # its figures stand in a table beside it; letters show no intervals
        yield ()
        match section:
            case Table():
                yield from _said(section.title, width, "bold")
                yield from table(section, width)
                yield from _note(section.note, width)
            case Chart():
                yield from _chart(section, width)
            case Text():
                yield from _text(section, width)
            case Plot():
                from advisor.report.plot import plot  # only a break-even has one

                yield from plot(section, width)
                yield from _note(section.note, width)
    if view.footer:
        yield ()
        for line in view.footer:
            yield from _said(line, width, "dim")


def _said(text: str, width: int, style: str = "", indent: str = "") -> Iterator[Row]:
    for line in wrapped(text, width - len(indent)):
        yield (Piece(indent + line, style),)


def _note(text: str, width: int) -> Iterator[Row]:
    if text:
        yield from _said(text, width, "dim")


def _text(section: Text, width: int) -> Iterator[Row]:
    yield from _said(section.title, width, "bold")
    for line in section.lines:
        yield from _said(line.says, width, indent="  ")
        if line.source:
            yield (Piece(clipped(f"    {line.source}", width), "dim"),)


def _chart(section: Chart, width: int) -> Iterator[Row]:
    yield (Piece(section.title, "bold"), Piece(" "), Piece(section.unit, "dim"))
    ends = [bar.range.high for bar in section.bars] + [bar.mark for bar in section.bars if bar.mark]
    top = max([*ends, section.limit or 0.0, 1e-12])
    longest = max((len(bar.label) for bar in section.bars), default=0)
    for bar in section.bars:
        figures = rounded(bar.range.mid)
        if bar.mark is not None:
            figures += f", measured {rounded(bar.mark)}"
        line = f"  {bar.label.ljust(longest)} {_line(bar, section, top)} {figures}"
        yield (Piece(clipped(line, width)),)
    if section.limit is not None:
        yield (Piece(f"  | {section.limit_label}: {rounded(section.limit)}", "dim"),)
    yield from _note(section.note, width)


def _line(bar: Bar, section: Chart, top: float) -> str:
    smallest = min([b.range.low for b in section.bars if b.range.low > 0] or [top])

    def place(value: float) -> int:
        if section.logarithmic:
            span = max(log10(top / smallest), 1e-9)
            share = log10(max(value, smallest) / smallest) / span
        else:
            share = value / top
        return min(WIDTH - 1, max(0, round(share * (WIDTH - 1))))

    cells = [" "] * WIDTH
    for index in range(place(bar.range.low), place(bar.range.high) + 1):
        cells[index] = "-"
    cells[place(bar.range.mid)] = "o"
    if section.limit is not None:
        cells[place(section.limit)] = "|"
    if bar.mark is not None:
        cells[place(bar.mark)] = "x"
    return "".join(cells)
