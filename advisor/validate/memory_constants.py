"""The memory constants fitted to measured rows: how far each sort of line may be off.

The bill itself has no fitted number in it; fitted are the allocator's share, the logits that
linger between steps, and the range of each sort of line. `fitted` does it from any rows, so that
a source can be left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from advisor.estimates.memory import MISSED, outside, peak
from advisor.estimates.workload import Workload
from knowledge import constants
from knowledge.quantities import GIB, Range

SORTS = ("state", "activation", "loss", "gathered", "cache", "unpacked")
FITTED = ("spread-state", "spread-activation", "spread-loss", "spread-gathered", "reserved")
COVERED, ABOVE = 0.80, 0.03
STEPS = (0.16, 0.08, 0.04, 0.02, 0.01, 0.005)

Constants = Mapping[str, Range]


class Held(NamedTuple):
    """A measured row and the parts of its bill, by sort [GiB]."""

    source: str
    metric: str
    measured: float
    parts: tuple[float, ...]
    outside: Range
    reaches: bool


def held(source: str, metric: str, measured: float, w: Workload) -> Held:
    """The parts of a row's bill at its peak."""
    sums = dict.fromkeys(SORTS, 0.0)
    for part in peak(w).parts:
        sums[part.sort] += part.size / GIB
    return Held(source, metric, measured, tuple(sums.values()), outside(w), w.reach >= 1)


def packaged() -> Constants:
    """The constants as they are packaged."""
    return {name: row.range for name, row in constants.table().items()}


def figure(row: Held, with_: Constants) -> Range:
    """What the constants make of a row's bill, in the row's own metric [GiB]."""
    low = mid = high = 0.0
    for sort, size in zip(SORTS, row.parts, strict=True):
        spread = with_[f"spread-{sort}"]
        short = MISSED if sort in ("activation", "loss") and not row.reaches else 1.0
        low += size * spread.low * short
        mid += size * spread.mid
        high += size * spread.high
    if row.metric != "allocated":
        share = with_["reserved"]
        low, mid, high = low * share.low, mid * share.mid, high * share.high
    if row.metric == "card":
        low, mid, high = low + row.outside.low, mid + row.outside.mid, high + row.outside.high
    return Range(low, mid, high)


def fitted(rows: Iterable[Held], start: Constants) -> Constants:
    """Constants fitted to rows: the middle by medians, the ranges as narrow as they may be.

    Four fifths of the rows lie inside, at most three in a hundred above.
    """
    listed = tuple(rows)
    found = dict(start)
    if not listed:
        return found
    shares = [
        row.measured / figure(row._replace(metric="allocated"), found).mid
        for row in listed
        if row.metric == "reserved"
    ]
    if shares:
        old, mid = found["reserved"], median(shares)
        found["reserved"] = Range(min(old.low, mid), mid, max(old.high, mid))
    best = _cost(listed, found)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for tried in _neighbours(found, step):
                cost = _cost(listed, tried)
                if cost < best - 1e-9:
                    found, best, improved = dict(tried), cost, True
    return found


def _neighbours(now: Constants, step: float) -> Iterator[Constants]:
    """One end of one range moved by a step."""
    for name in FITTED:
        r = now[name]
        for low, high in ((-step, 0), (step, 0), (0, -step), (0, step)):
            moved = Range(min(r.low + low, r.mid), r.mid, max(r.high + high, r.mid))
            yield {**now, name: moved}


def _cost(rows: Sequence[Held], with_: Constants) -> float:
    """Median width, and what the marks are missed by, weighted."""
    widths, inside, above = [], 0, 0
    for row in rows:
        got = figure(row, with_)
        widths.append((got.high - got.low) / got.mid)
        inside += got.low <= row.measured <= got.high
        above += row.measured > got.high
    count = len(rows)
    short = max(0.0, COVERED - inside / count)
    over = max(0.0, above / count - ABOVE)
    return median(widths) + sum(widths) / count / 20 + 12 * short + 30 * over
