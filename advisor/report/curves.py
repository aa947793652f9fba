"""Curves and points with intervals, laid out for SVG: where every line, tick and label goes."""

from collections.abc import Sequence
from math import ceil, floor, log10

import msgspec

from advisor.report.view import Plot, Scatter
from advisor.report.words import rounded

WIDTH, HEIGHT = 490.0, 290.0  # of the whole drawing [SVG units]
LEFT, RIGHT, TOP, FOOT = 62.0, 26.0, 14.0, 46.0
ROW = 20.0  # of the legend
LEAST = 1e-9


class Drawn(msgspec.Struct, frozen=True):
    """A curve as SVG points, or a point with its intervals; `number` picks its colour and dash."""

    label: str
    number: int
    points: str = ""
    x: float = 0.0
    y: float = 0.0
    left: float = 0.0
    right: float = 0.0
    low: float = 0.0
    high: float = 0.0
    front: bool = False
    says: str = ""


class Figure(msgspec.Struct, frozen=True):
    """A drawing ready to be written as SVG."""

    title: str
    across: str
    up: str
    note: str
    width: float
    height: float
    left: float
    right: float
    top: float
    foot: float
    drawn: tuple[Drawn, ...]
    across_ticks: tuple[tuple[float, str], ...]
    up_ticks: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, str], ...]
    summary: str


class Axis(msgspec.Struct, frozen=True):
    """From values to places along a line, logarithmic or straight."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """The place of a value, kept on the axis."""
        inside = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = log10(inside / self.low) / log10(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Round values along it."""
        return tuple((self.at(value), tick(value)) for value in self._round())

    def _round(self) -> list[float]:
        if self.logarithmic:
            decades = round(log10(self.high / self.low))
            step = max(1, ceil(decades / 6))
            return [self.low * 10.0**power for power in range(0, decades + 1, step)]
        raw = (self.high - self.low) / 5
        size = 10.0 ** floor(log10(raw))
        step_size = next(size * m for m in (1, 2, 3, 5, 10) if size * m >= raw * 0.999)
        first = ceil(self.low / step_size - 1e-9)
        return [step_size * n for n in range(first, floor(self.high / step_size + 1e-9) + 1)]


def tick(value: float) -> str:
    """A value beside an axis."""
    return f"{value:,.0f}" if value == int(value) else rounded(value)


def curves(plot: Plot) -> Figure:
    """Where the curves of a plot go."""
    xs = [x for curve in plot.curves for x, _ in curve.points]
    ys = [y for curve in plot.curves for _, y in curve.points]
    across = _axis(xs, LEFT, WIDTH - RIGHT, logarithmic=plot.logarithmic, tight=True)
    up = _axis(ys, HEIGHT - FOOT, TOP, logarithmic=plot.logarithmic)
    drawn = tuple(
        Drawn(
            curve.label,
            number,
            points=" ".join(f"{across.at(x)},{up.at(y)}" for x, y in curve.points),
            says=f"{rounded(curve.points[0][1])} to {rounded(curve.points[-1][1])}",
        )
        for number, curve in enumerate(plot.curves)
    )
    marks = tuple((across.at(x), label) for x, label in plot.marks)
    return _figure(plot, drawn, across, up, marks)


def points(scatter: Scatter) -> Figure:
    """Where the points of a scatter go."""
    xs = [end for dot in scatter.dots for end in (dot.across.low, dot.across.high)]
    across = _axis([x for x in xs if x > 0] or [1.0], LEFT, WIDTH - RIGHT, logarithmic=True)
    low = min(dot.up.low for dot in scatter.dots)
    high = max(dot.up.high for dot in scatter.dots)
    up = Axis(floor(low * 10) / 10, max(ceil(high * 10) / 10, low + 0.1), HEIGHT - FOOT, TOP, False)
    drawn = tuple(
        Drawn(
            dot.label,
            number,
            x=across.at(max(dot.across.mid, LEAST)),
            y=up.at(dot.up.mid),
            left=across.at(max(dot.across.low, LEAST)),
            right=across.at(max(dot.across.high, LEAST)),
            low=up.at(dot.up.low),
            high=up.at(dot.up.high),
            front=dot.front,
            says=f"{rounded(dot.up.mid)} ({rounded(dot.up.low)} to {rounded(dot.up.high)}) "
            f"for {rounded(dot.across.mid)}",
        )
        for number, dot in enumerate(scatter.dots)
    )
    return _figure(scatter, drawn, across, up, ())


def _axis(
    values: Sequence[float], start: float, end: float, *, logarithmic: bool, tight: bool = False
) -> Axis:
    low, high = min(values), max(values)
    if not logarithmic:
        return Axis(0.0, max(high if tight else high * 1.05, LEAST), start, end, False)
    low = max(low, LEAST)
    if tight:
        return Axis(low, max(high, low * 10), start, end, True)
    bottom = 10.0 ** floor(log10(low))
    return Axis(bottom, max(10.0 ** ceil(log10(high)), bottom * 10), start, end, True)


def _figure(
    section: Plot | Scatter,
    drawn: tuple[Drawn, ...],
    across: Axis,
    up: Axis,
    marks: tuple[tuple[float, str], ...],
) -> Figure:
    said = "; ".join(f"{one.label}: {one.says}" for one in drawn)
    return Figure(
        title=section.title,
        across=section.across,
        up=section.up,
        note=section.note,
        width=WIDTH,
        height=HEIGHT + ROW * len(drawn),
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        foot=HEIGHT - FOOT,
        drawn=drawn,
        across_ticks=across.ticks(),
        up_ticks=up.ticks(),
        marks=marks,
        summary=f"{section.title}, {section.up} over {section.across}. {said}",
    )
