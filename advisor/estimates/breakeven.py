"""From which volume of requests on one option is cheaper than another.

The cost of an option is what is paid whatever the volume, a price for each request, and replicas
of a server of one's own, each of which holds so many requests. Between two of the steps both
costs are straight lines, so every crossing is solved, none searched for.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, inf

import msgspec
from msgspec.structs import replace

from advisor.estimates import estimate, requests, serving
from advisor.estimates.records import Estimate
from advisor.job import Job
from knowledge import constants, methods
from knowledge.errors import UserError
from knowledge.quantities import HOUR, HOURS_A_MONTH, Range, exactly

MOST = 1e9
"""Requests a month up to which crossings are looked for."""
STEPS = 4096
"""Steps that are followed; a hundred replicas later the steps no longer show."""
SAMPLE = 10**6


class Cost(msgspec.Struct, frozen=True):
    """Cost in USD of a month's volume, over the months: a line, and steps where it has any.

    `fixed` is paid whatever comes, `each` for a request, `replica` for one server more whenever
    `holds` further requests a month come; at least one server is kept.
    """

    fixed: float
    each: float
    replica: float = 0.0
    holds: float = inf

    def usd(self, requests: float) -> float:
        """The cost at a volume [USD]."""
        servers = 0 if not self.replica else max(1, ceil(requests / self.holds))
        return self.fixed + self.each * requests + self.replica * servers

    @property
    def slope(self) -> float:
        """The cost of one request more in the long run [USD]."""
        return self.each + (self.replica / self.holds if self.replica else 0.0)


class Costs(msgspec.Struct, frozen=True):
    """The cost of one option with its range."""

    name: str
    low: Cost
    mid: Cost
    high: Cost
    months: float
    at_least: bool
    prices_as_of: str | None

    def usd(self, requests: float) -> Range:
        """The cost at a volume [USD]."""
        return Range(self.low.usd(requests), self.mid.usd(requests), self.high.usd(requests))


class Crossing(msgspec.Struct, frozen=True):
    """A pair of options: which is cheaper at first and which from the break-even on.

    `requests` a month; None where one is cheaper at every volume. `low` and `high` take each
    option at the end of its interval that favours or harms it; None where they never cross so.
    """

    cheaper_below: str
    cheaper_above: str
    requests: float | None
    low: float | None
    high: float | None
    for_good: float | None
    """From here on the order stays; steps of replicas may turn it several times before."""


def costs(job: Job, name: str) -> Costs:
    """The cost of an option as a function of the volume.

    Raises:
        UserError: the job answers no requests, or its price is not known.
    """
    prompts = "requests" in methods.find(job.method).phases
    answers = job.gpu is not None or prompts
    if not answers and not isinstance(job.model, str):
        raise UserError(f"{name} answers no requests; give it a gpu, or a hosted model")
    if requests.hosts(job) if prompts else job.gpu is not None:
        return _stepped(job, name)
    one, two = (estimate(replace(job, requests=count)) for count in (SAMPLE, 2 * SAMPLE))
    a, b = _usd(one, name), _usd(two, name)
    each = [(y - x) / SAMPLE for x, y in zip(_three(a), _three(b), strict=True)]
    low, mid, high = (
        Cost(max(0.0, x - SAMPLE * e), e) for x, e in zip(_three(a), each, strict=True)
    )
    return Costs(name, low, mid, high, one.money.months, one.money.at_least, one.money.prices_as_of)


def _stepped(job: Job, name: str) -> Costs:
    """The cost of an option that is served on GPUs of one's own."""
    least = estimate(replace(job, requests=1))
    prompts = "requests" in methods.find(job.method).phases
    one = serving.capacity(requests.asked(job, []) if prompts else job)
    months = least.money.months
    if one is None:
        raise UserError(f"{name}: its speed on {job.gpu} is not known")
    kept = [line for line in least.money.lines if line.per == "month"]
    if any(line.usd is None for line in kept):
        raise UserError(f"{name}: {next(line.why for line in kept if line.usd is None)}")
    server = _added(line.usd for line in kept if line.usd and line.name.startswith(serving.LINE))
    beside = _beside(least)
    fixed = (least.money.once or exactly(0.0)) + beside.scaled(months)
    more = _beside(estimate(replace(job, requests=SAMPLE))) if prompts else beside
    each = [months * (x - y) / SAMPLE for x, y in zip(_three(more), _three(beside), strict=True)]
    use = constants.find("traffic-utilisation").range
    if job.utilisation is not None:
        use = exactly(job.utilisation)
    holds = one.per_second.times(use).scaled(HOUR * HOURS_A_MONTH)
    low, mid, high = (
        Cost(paid, max(0.0, request), months * replica, room)
        for paid, request, replica, room in zip(
            _three(fixed), each, _three(server), reversed(_three(holds)), strict=True
        )
    )
    return Costs(name, low, mid, high, months, least.money.at_least, least.money.prices_as_of)


def _beside(answer: Estimate) -> Range:
    """What a month costs beside the servers, as far as it is known."""
    lines = (line for line in answer.money.lines if line.per == "month")
    return _added(x.usd for x in lines if x.usd and not x.name.startswith(serving.LINE))


def crossing(one: Costs, other: Costs) -> Crossing:
    """The break-even volume of two options, from below the first change of order."""
    turns = list(_turns(one.mid, other.mid))
    first, second = _order(one, other, 1.0)
    last = one if one.mid.slope < other.mid.slope else other
    if not turns:
        return Crossing(first.name, first.name, None, None, None, None)
    favoured = next(_turns(first.high, second.low), None)
    harmed = next(_turns(first.low, second.high), None)
    bounds = sorted(x for x in (favoured, harmed) if x is not None)
    low = bounds[0] if bounds and bounds[0] <= turns[0] else None
    high = bounds[-1] if bounds and bounds[-1] >= turns[0] else None
    above = second if len(turns) % 2 else last
    return Crossing(first.name, above.name, turns[0], low, high, turns[-1])


def _order(one: Costs, other: Costs, requests: float) -> tuple[Costs, Costs]:
    """The cheaper option first; where both cost the same, the one that is so sooner."""
    while requests <= MOST:
        gap = one.mid.usd(requests) - other.mid.usd(requests)
        if gap:
            return (one, other) if gap < 0 else (other, one)
        requests *= 2
    return one, other


def _turns(one: Cost, other: Cost) -> Iterator[float]:
    """Volumes from 1 to MOST at which the cheaper of two costs changes."""
    ends = sorted({1.0, MOST, *_steps(one), *_steps(other)})
    sign = 0
    for start, end in pairwise(ends):
        # Within (start, end] both are straight; a step up comes right after its start.
        middle = (start + end) / 2
        slope = one.each - other.each
        gap = one.usd(middle) - other.usd(middle)
        inside = middle - gap / slope if slope else inf
        pieces = [start, inside, end] if start < inside < end else [start, end]
        for left, right in pairwise(pieces):
            here = one.usd((left + right) / 2) - other.usd((left + right) / 2)
            now = (here > 0) - (here < 0)
            if now and sign and now != sign:
                yield left
            sign = now or sign


def _steps(cost: Cost) -> Iterator[float]:
    if not cost.replica:
        return
    for count in range(1, STEPS):
        if cost.holds * count >= MOST:
            return
        yield cost.holds * count


def _usd(answer: Estimate, name: str) -> Range:
    if answer.money.usd is None:
        raise UserError(f"{name}: its price is not known, so there is no break-even")
    return answer.money.usd


def _three(range_: Range) -> tuple[float, float, float]:
    return range_.low, range_.mid, range_.high


def _added(parts: Iterator[Range]) -> Range:
    summed = exactly(0.0)
    for part in parts:
        summed = summed + part
    return summed


def crossings(options: Sequence[Costs]) -> list[Crossing]:
    """The break-even of every pair."""
    return [
        crossing(one, other)
        for number, one in enumerate(options)
        for other in options[number + 1 :]
    ]
