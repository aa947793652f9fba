"""Figures as people read them: rounded once, here, with their interval; None is "unknown"."""

import datetime as dt

from knowledge.quantities import HOUR, Range

UNKNOWN = "unknown"
FRESH_DAYS = 30


def rounded(value: float) -> str:
    """A figure at about three digits, thousands with commas."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.1:
        return f"{value:.2f}"
    return f"{value:.2g}"


def interval(range_: Range | None, unit: str = "", *, at_least: bool = False) -> str:
    """`7.6 GiB (7.1 to 8.4)`; the bounds are left out where they say nothing."""
    if range_ is None:
        return UNKNOWN
    suffix = f" {unit}" if unit else ""
    shown = f"{rounded(range_.mid)}{suffix}"
    bounds = rounded(range_.low), rounded(range_.high)
    if bounds[0] != bounds[1]:
        shown += f" ({bounds[0]} to {bounds[1]})"
    return f"at least {shown}" if at_least else shown


def usd(range_: Range | None, *, at_least: bool = False) -> str:
    """Dollars with their interval; below a cent the figure says nothing."""
    if range_ is not None and 0 < range_.high < 0.01:
        return "at least 0 USD" if at_least else "under 0.01 USD"
    return interval(range_, "USD", at_least=at_least)


def duration(seconds: Range | None) -> str:
    """A time in the unit that suits its middle."""
    if seconds is None:
        return UNKNOWN
    for size, unit in ((24 * HOUR, "days"), (HOUR, "h"), (60.0, "min")):
        if seconds.mid >= 2 * size:
            return interval(seconds.scaled(1 / size), unit)
    return interval(seconds, "s")


def share(range_: Range | None) -> str:
    """A quality between 0 and 1 with its interval."""
    if range_ is None:
        return UNKNOWN
    return f"{range_.mid:.2f} ({range_.low:.2f} to {range_.high:.2f})"


def stack(words: tuple[str, ...]) -> str:
    """A stack as people say it: `rag + prompt`."""
    return " + ".join(words) if words else "nothing"


def sure(probability: float) -> str:
    """A probability in per cent; never 100 %, never 0 %."""
    if probability > 0.99:
        return "over 99%"
    return f"{probability:.0%}" if probability >= 0.01 else "under 1%"


def dated(snapshot: str | None, today: dt.date | None = None) -> str:
    """From when prices are, and how old they are once that matters."""
    if snapshot is None:
        return "No price was used."
    age = ((today or dt.date.today()) - dt.date.fromisoformat(snapshot)).days
    stale = f", {age} days ago: look them up before you buy" if age > FRESH_DAYS else ""
    return f"Prices as of {snapshot}{stale}."
