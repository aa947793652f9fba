"""What the user's own runs say about an estimate: how far their device is off, shrunk.

A part of every error is shared by all jobs on a device, the rest is the job's own. Each measured
run tells by how many standard deviations of its prediction it was off; what is expected of the
shared part, given these, is the best linear prediction of a random effect. So one run moves an
estimate by a fraction of what it was off, many runs by nearly all that they agree on, and a sure
estimate less than an unsure one.

Source: https://doi.org/10.1214/ss/1177011926 (prediction of random effects).
"""

from collections.abc import Iterator
from math import exp, log
from statistics import median
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from advisor.estimates.records import Memory, Time
from knowledge import constants
from knowledge.quantities import Range

Quantity = Literal["memory", "time"]
SIGMAS = 2.563
"""Standard deviations between the ends of an 80 % interval."""
SUREST = 0.05
"""Standard deviation of the logarithm that even a sure prediction is taken to have."""
FARTHEST = 3.0
"""Standard deviations that a run counts as at most: further off, something else happened."""

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measured quantity of one run beside what the formulas had predicted."""

    id: str
    what: str
    device: str
    """A GPU of the catalogue, or cpu."""
    quantity: Quantity
    unit: Literal["GiB", "s"]
    predicted: Range
    measured: Positive
    at: str = ""


class Own(msgspec.Struct, frozen=True):
    """The user's own runs, and the file that holds them."""

    file: str
    runs: tuple[Run, ...] = ()


class Lean(msgspec.Struct, frozen=True):
    """How far a device is off: expected standard deviations, and the runs that say so."""

    sigmas: float
    runs: int

    def factor(self, range_: Range) -> float:
        """What an estimate with that interval has to be multiplied with."""
        return exp(self.sigmas * sigma(range_))


def sigma(range_: Range) -> float:
    """Standard deviation of the logarithm that an interval means."""
    if range_.low <= 0 or range_.high <= range_.low:
        return SUREST
    return max(SUREST, log(range_.high / range_.low) / SIGMAS)


def surprise(run: Run) -> float:
    """By how many standard deviations of its prediction a run was off."""
    off = log(run.measured / run.predicted.mid) / sigma(run.predicted)
    return max(-FARTHEST, min(FARTHEST, off))


def lean(runs: tuple[Run, ...], device: str, quantity: Quantity) -> Lean:
    """What runs say about a quantity on a device; nothing where there are none."""
    found = [surprise(run) for run in runs if run.device == device and run.quantity == quantity]
    shared = constants.find("shared-error").mid
    return Lean(shared * sum(found) / (1 - shared + shared * len(found)), len(found))


def corrected_memory(
    own: Own | None, device: str | None, memory: Memory
) -> tuple[Memory, tuple[str, ...]]:
    """Memory as the user's own runs correct it, and what to say about that.

    The interval keeps its width, but its high end is what to buy: no run lowers it.
    """
    if own is None or device is None:
        return memory, ()
    used = lean(own.runs, device, "memory")
    if not used.runs:
        return memory, ()
    moved = [_moved(x, used) for x in (memory.allocated, memory.reserved, memory.card)]
    said = _said(own, device, "memory", used, used.factor(memory.card))
    return replace(memory, allocated=moved[0], reserved=moved[1], card=moved[2]), (said,)


def corrected_time(own: Own | None, device: str | None, time: Time) -> tuple[Time, tuple[str, ...]]:
    """Time as the user's own runs correct it, and what to say about that."""
    unsure = time.gpu_hours or time.wall_hours or time.tokens_per_second
    if own is None or device is None or unsure is None:
        return time, ()
    used = lean(own.runs, device, "time")
    if not used.runs:
        return time, ()
    by = used.factor(unsure)
    return _slower(time, by), (_said(own, device, "time", used, by),)


def _moved(range_: Range, by: Lean) -> Range:
    factor = by.factor(range_)
    return Range(range_.low * factor, range_.mid * factor, range_.high * max(1.0, factor))


def _slower(time: Time, by: float) -> Time:
    def scaled(range_: Range | None, factor: float) -> Range | None:
        return None if range_ is None else range_.scaled(factor)

    return Time(
        scaled(time.gpu_hours, by), scaled(time.wall_hours, by),
        scaled(time.tokens_per_second, 1 / by), scaled(time.seconds_per_request, by),
        scaled(time.requests_per_second, 1 / by),
    )  # fmt: skip


def _said(own: Own, device: str, quantity: str, used: Lean, factor: float) -> str:
    runs = f"{used.runs} run{'s' if used.runs > 1 else ''}"
    return f"{quantity} x {factor:.2f}: what {runs} of yours on {device} took ({own.file})"


class Score(msgspec.Struct, frozen=True):
    """Runs of one device and quantity: errors as factors, as predicted and as corrected."""

    device: str
    quantity: Quantity
    runs: int
    inside: int
    """Runs within the 80 % interval of their prediction."""
    median: float
    left_out: float | None
    """The median once each run is corrected by the others; None for a single run."""
    factor: float
    """By what the estimates are multiplied now, at the usual width of these predictions."""


def scores(runs: tuple[Run, ...]) -> Iterator[Score]:
    """How far off the predictions were, and how far they would be."""
    for device, quantity in dict.fromkeys((run.device, run.quantity) for run in runs):
        here = tuple(run for run in runs if (run.device, run.quantity) == (device, quantity))
        now = lean(here, device, quantity)
        yield Score(
            device=device, quantity=quantity, runs=len(here),
            inside=sum(run.predicted.low <= run.measured <= run.predicted.high for run in here),
            median=median([_error(run, 1.0) for run in here]),
            left_out=median([_error(run, _others(here, run)) for run in here])
            if len(here) > 1 else None,
            factor=median([now.factor(run.predicted) for run in here]),
        )  # fmt: skip


def _others(runs: tuple[Run, ...], left_out: Run) -> float:
    rest = tuple(run for run in runs if run is not left_out)
    return lean(rest, left_out.device, left_out.quantity).factor(left_out.predicted)


def _error(run: Run, factor: float) -> float:
    return exp(abs(log(run.measured / (run.predicted.mid * factor))))
