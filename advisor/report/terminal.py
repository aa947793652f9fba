"""A view on a terminal, readable from 80 columns up."""

from math import log10

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as RichTable

from advisor.report.plot import plot
from advisor.report.view import Bar, Chart, Plot, Table, Text, View
from advisor.report.words import rounded

WIDTH = 32  # characters of a chart's axis
WORD = 13  # longest word that a narrow column keeps whole


def show(view: View, console: Console) -> None:
    """Print a view: the answer first, then its sections."""
    first, *rest = view.answer or (view.title,)
    console.print(f"[bold]{escape(first)}[/]")
    for line in rest:
        console.print(escape(line))
    for section in view.sections:
        console.print()
        match section:
            case Table():
                _table(section, console)
            case Chart():
                _chart(section, console)
            case Text():
                _text(section, console)
            case Plot():
                plot(section, console)
    if view.footer:
        console.print()
        for line in view.footer:
            console.print(escape(line), style="dim")


def _text(section: Text, console: Console) -> None:
    console.print(f"[bold]{escape(section.title)}[/]")
    for line in section.lines:
        console.print(Padding(escape(line.says), (0, 0, 0, 2)))
        if line.source:
            source = f"    {escape(line.source)}"
            console.print(source, style="dim", no_wrap=True, overflow="ellipsis")


def _table(section: Table, console: Console) -> None:
    console.print(f"[bold]{escape(section.title)}[/]")
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(section.columns):
        cells = [column, *(row[number] for row in section.rows)]
        longest = max((len(word) for cell in cells for word in cell.split()), default=1)
        table.add_column(escape(column), overflow="fold", min_width=min(longest, WORD))
    for row in section.rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    if section.note:
        console.print(escape(section.note), style="dim")


def _chart(section: Chart, console: Console) -> None:
    console.print(f"[bold]{escape(section.title)}[/] [dim]{escape(section.unit)}[/]")
    ends = [bar.range.high for bar in section.bars] + [bar.mark for bar in section.bars if bar.mark]
    top = max([*ends, section.limit or 0.0, 1e-12])
    width = max((len(bar.label) for bar in section.bars), default=0)
    for bar in section.bars:
        figures = rounded(bar.range.mid)
        if bar.mark is not None:
            figures += f", measured {rounded(bar.mark)}"
        line = f"  {bar.label.ljust(width)} {_line(bar, section, top)} {figures}"
        console.print(escape(line), no_wrap=True, overflow="ellipsis")
    if section.limit is not None:
        console.print(f"  | {escape(section.limit_label)}: {rounded(section.limit)}", style="dim")
    if section.note:
        console.print(escape(section.note), style="dim")


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
