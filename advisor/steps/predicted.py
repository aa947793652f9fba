"""What a step is expected to take, before it runs."""

from typing import Any

from msgspec.structs import replace

from advisor import calibration
from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.job import settled
from advisor.profile import Profile
from advisor.recommendation.records import Ranked
from backends.base import Data, Predicted, Step
from knowledge import methods
from knowledge.quantities import HOUR, Range


def expected(job: dict[str, Any], option: Ranked, metric: str | None) -> Predicted:
    """What a job takes where it is placed, and the quality that the recommendation expects."""
    return replace(
        taken(job),
        quality=option.quality if metric else None,
        quality_metric=metric if option.quality else None,
    )


def taken(job: dict[str, Any]) -> Predicted:
    """What a job takes where it is placed.

    Raises:
        UserError: the job contradicts itself, or names what is not known.
    """
    keys = {key: value for key, value in job.items() if value is not None}
    where, asked = keys["gpu"], settled(keys)
    plain, estimated = estimate(asked), estimate(asked, calibration.own())
    before, memory, seconds = plain.memory_gib, estimated.memory_gib, seconds_of(estimated)
    return Predicted(
        memory_gib=short(memory.card) if memory is not None else None,
        allocated_gib=short(memory.allocated) if memory is not None and where != "cpu" else None,
        seconds=short(seconds),
        device=where,
        usd=None if keys.get("owned") else short(estimated.money.once),
        memory_times=_times(before.card if before else None, memory.card if memory else None),
        seconds_times=_times(seconds_of(plain), seconds),
    )


def plain(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that nothing here executes yet: complete for the reader, refused by `run`."""
    estimated = option.estimate
    known = isinstance(estimated, Estimate)
    predicted = Predicted(
        memory_gib=estimated.memory_gib.card if known and estimated.memory_gib else None,
        seconds=seconds_of(estimated) if known else None,
        usd=estimated.money.usd if known else None,
    )
    data = Data(train=profile.data, test=profile.test_data, corpus=profile.corpus)
    return Step(row.id, row.id, option.model, data=data, predicted=predicted)


def short(range_: Range | None) -> Range | None:
    """The range at three digits: a plan is read by people."""
    if range_ is None:
        return None
    return Range(*(float(f"{bound:.3g}") for bound in (range_.low, range_.mid, range_.high)))


def seconds_of(estimated: Estimate) -> Range | None:
    """The wall time of an estimate [s]; None where it has none."""
    hours = estimated.time.wall_hours if estimated.time is not None else None
    return None if hours is None else hours.scaled(HOUR)


def _times(plain: Range | None, corrected: Range | None) -> float:
    """What the user's own runs multiplied a figure with, at three digits."""
    return float(f"{corrected.mid / plain.mid:.3g}") if plain and corrected else 1.0
