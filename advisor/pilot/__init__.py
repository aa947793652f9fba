"""The pilot: the leading options run small on the user's own data, before much is paid for.

What it measures overrules what the profile says and what published findings expect.
"""

from typing import Any

import msgspec

from backends.base import Metric, Plan
from knowledge.quantities import Range


class Trial(msgspec.Struct, frozen=True):
    """One option as a small plan; `rows` are the examples it learns from (0: none are learnt).

    `stands_for` names the trial of which this one is a part of the learning curve.
    """

    name: str
    option: str
    stack: tuple[str, ...]
    model: str | None
    plan: Plan
    rows: int = 0
    stands_for: str | None = None

    @property
    def seconds(self) -> float | None:
        """What the trial is expected to take in the middle; None where a step is unknown."""
        known = [step.predicted.seconds for step in self.plan.steps]
        return None if None in known else sum(one.mid for one in known if one is not None)


class LeftOut(msgspec.Struct, frozen=True):
    """An option that is not tried, and why."""

    option: str
    stack: tuple[str, ...]
    because: str


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trial came to: its metrics with 95 % intervals, its cost, and what was foretold.

    `metric` names the figure that options are compared by.
    """

    name: str
    option: str
    stack: tuple[str, ...]
    model: str | None
    folder: str
    seconds: float
    metrics: dict[str, Metric]
    metric: str | None = None
    rows: int = 0
    predicted_seconds: Range | None = None
    peak_gib: float | None = None
    predicted_gib: Range | None = None
    usd: float | None = None
    stands_for: str | None = None

    @property
    def quality(self) -> Metric | None:
        """The figure that options are compared by."""
        return None if self.metric is None else self.metrics[self.metric]


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a probe found, in one sentence; `figures` hold its numbers."""

    probe: str
    says: str
    figures: dict[str, Any] = {}


class FirstPlace(msgspec.Struct, frozen=True):
    """What a recommendation puts first, and how sure it is."""

    stack: tuple[str, ...]
    delivery: str
    confidence: float


class Outcome(msgspec.Struct, frozen=True):
    """What a pilot found, and the first place before and after; `measured` is the file to use."""

    profile: str | None
    tried: tuple[Tried, ...]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]
    measured: str | None
    before: FirstPlace
    after: FirstPlace
    target: float | None = None
