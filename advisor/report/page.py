"""A view as one self-contained HTML page: no script, no network, charts as inline SVG."""

from functools import cache
from math import ceil, floor, log10

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from advisor.report.curves import curves, points, tick
from advisor.report.view import Chart, Plot, Scatter, Table, View
from advisor.report.words import rounded

LABELS, AXIS, ROW, PAD = 180, 280, 30, 16  # a chart's measures [SVG units]


class Drawn(msgspec.Struct, frozen=True):
    """A bar in the chart's own units."""

    label: str
    says: str
    y: float
    low: float
    mid: float
    high: float
    mark: float | None


class Drawing(msgspec.Struct, frozen=True):
    """A chart ready to be written as SVG."""

    title: str
    unit: str
    note: str
    width: float
    height: float
    axis_y: float
    bars: tuple[Drawn, ...]
    ticks: tuple[tuple[float, str], ...]
    limit: float | None
    limit_label: str
    summary: str


def html(view: View) -> str:
    """The page; every text of it is escaped."""
    sections = [_section(section) for section in view.sections]
    return _template().render(view=view, sections=sections)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("advisor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _section(section: object) -> dict[str, object]:
    if isinstance(section, Chart):
        return {"kind": "chart", "chart": drawing(section)}
    if isinstance(section, Plot):
        return {"kind": "figure", "figure": curves(section)}
    if isinstance(section, Scatter):
        return {"kind": "figure", "figure": points(section)}
    kind = "table" if isinstance(section, Table) else "text"
    return {"kind": kind, kind: section}


def drawing(chart: Chart) -> Drawing:
    """Where every bar, tick and mark of a chart goes."""
    values = [v for bar in chart.bars for v in (bar.range.low, bar.range.high, bar.mark or 0.0)]
    top = max([*values, chart.limit or 0.0, 1e-12])
    least = min([v for v in values if v > 0] or [top])
    bottom = 10 ** floor(log10(least)) if chart.logarithmic else 0.0
    top = max(10 ** ceil(log10(top)), bottom * 10) if chart.logarithmic else top * 1.04

    def place(value: float) -> float:
        if chart.logarithmic:
            share = log10(max(value, bottom) / bottom) / log10(top / bottom)
        else:
            share = value / top
        return round(LABELS + share * AXIS, 1)

    bars = tuple(
        Drawn(
            label=bar.label,
            says=f"{rounded(bar.range.mid)} ({rounded(bar.range.low)} to {rounded(bar.range.high)})"
            + ("" if bar.mark is None else f", measured {rounded(bar.mark)}"),
            y=PAD + ROW * number + ROW / 2,
            low=place(bar.range.low),
            mid=place(bar.range.mid),
            high=place(bar.range.high),
            mark=None if bar.mark is None else place(bar.mark),
        )
        for number, bar in enumerate(chart.bars)
    )
    axis_y = PAD + ROW * len(bars) + 6
    said = "; ".join(f"{bar.label}: {bar.says} {chart.unit}" for bar in bars)
    return Drawing(
        title=chart.title,
        unit=chart.unit,
        note=chart.note,
        width=LABELS + AXIS + 30,
        height=axis_y + 34,
        axis_y=axis_y,
        bars=bars,
        ticks=tuple((place(v), tick(v)) for v in _ticks(bottom, top, chart)),
        limit=None if chart.limit is None else place(chart.limit),
        limit_label=chart.limit_label,
        summary=f"{chart.title}. {said}",
    )


def _ticks(bottom: float, top: float, chart: Chart) -> list[float]:
    if chart.logarithmic:
        decades = round(log10(top / bottom))
        step = max(1, ceil(decades / 6))
        return [bottom * 10**power for power in range(0, decades + 1, step)]
    raw = top / 5
    size = 10 ** floor(log10(raw))
    step_size = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    return [step_size * n for n in range(int(top / step_size) + 1)]
