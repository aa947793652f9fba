"""The view of break-even volumes: from how many requests a month on which option is cheaper."""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

from advisor.estimates.breakeven import Costs, Crossing
from advisor.report.view import Curve, Plot, Table, View
from advisor.report.words import dated, rounded, usd
from knowledge.quantities import Range

POINTS = 121
TABLE = (2, 3, 4, 5, 6, 7)  # powers of ten of the volumes in the table
LEAST_USD = 0.01  # below a cent a logarithmic axis says nothing


def view(options: Sequence[Costs], pairs: Sequence[Crossing]) -> View:
    """The report of options over volumes."""
    oldest = min((x.prices_as_of for x in options if x.prices_as_of), default=None)
    return View(
        title="Break-even",
        answer=tuple(line for pair in pairs for line in _answer(pair)),
        sections=(_table(options), _plot(options, pairs)),
        footer=tuple(_footer(options, oldest)),
    )


def volume(requests: float) -> str:
    """A volume at three digits."""
    return rounded(float(f"{requests:.3g}"))


def _answer(pair: Crossing) -> Iterator[str]:
    if pair.requests is None:
        yield f"{pair.cheaper_below} is cheaper at every volume"
        return
    between = ""
    if pair.low is not None and pair.high is not None:
        between = f" ({volume(pair.low)} to {volume(pair.high)})"
    elif pair.low is not None or pair.high is not None:
        end = pair.low if pair.high is None else pair.high
        between = (
            f" ({'from' if pair.high is None else 'up to'} {volume(end or 0.0)}; other end open)"
        )
    yield f"break-even at {volume(pair.requests)} requests a month{between}"
    yield f"  below: {pair.cheaper_below}"
    yield f"  above: {pair.cheaper_above}"
    if pair.for_good is not None and pair.for_good > pair.requests * 1.01:
        yield f"  each further server turns it back for a while, up to {volume(pair.for_good)}"


def _table(options: Sequence[Costs]) -> Table:
    rows = []
    for power in TABLE:
        each = [option.usd(10.0**power) for option in options]
        least = min(x.mid for x in each)
        rows.append((f"{10**power:,}", *(_cell(x, least) for x in each)))
    months = options[0].months
    return Table(
        f"USD over {months:g} month{'s' if months != 1 else ''} at a volume a month",
        ("requests", *(option.name for option in options)),
        tuple(rows),
        note="* the cheapest",
    )


def _cell(cost: Range, least: float) -> str:
    return f"{usd(cost)}{' *' if cost.mid == least else ''}"


def _plot(options: Sequence[Costs], pairs: Sequence[Crossing]) -> Plot:
    found = [pair.requests for pair in pairs if pair.requests is not None]
    middle = max(found, default=1e5)
    low = 10.0 ** min(3, floor(log10(middle)) - 1)
    high = 10.0 ** min(9, max(7, ceil(log10(middle)) + 1))
    volumes = [low * (high / low) ** (n / (POINTS - 1)) for n in range(POINTS)]
    return Plot(
        "Cost over volume",
        "requests a month",
        f"USD over {options[0].months:g} months" if options[0].months != 1 else "USD a month",
        tuple(
            Curve(option.name, tuple((x, max(LEAST_USD, option.mid.usd(x))) for x in volumes))
            for option in options
        ),
    )


def _footer(options: Sequence[Costs], oldest: str | None) -> Iterator[str]:
    yield f"{dated(oldest)} Intervals are 80 %; a break-even's take one cost low, the other high."
    for option in options:
        if option.at_least:
            yield f"{option.name}: at least; a line of its bill is unknown."
