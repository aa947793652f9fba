"""What a recommendation says, exactly as `advisor recommend --json` prints it."""

from typing import Any, Literal

import msgspec

from advisor.estimates.breakeven import Costs, Crossing
from knowledge.quantities import Range

Verdict = Literal["build", "no-model", "labels-first", "reuse", "wait"]


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an option stands where it stands: a rule, in one sentence, with its source.

    `points` is how far the rule moved it; `sure` is False where an unanswered question made the
    rule only likely.
    """

    rule: str
    says: str
    source: str
    points: float | None = None
    sure: bool = True


class Ranked(msgspec.Struct, frozen=True):
    """A possible way, with its rank's figures; `probability` is that of the first place.

    `quality` is what to expect, or what was measured, of `quality_metric` by `quality_source`;
    None where no finding speaks of it. `estimate` is the estimate's own record over the horizon,
    None where it is unknown. `architecture` is that of an open base model.
    """

    id: str
    stack: tuple[str, ...]
    methods: tuple[str, ...]
    model: str | None
    delivery: str
    hardware: str
    score: float
    probability: float
    quality: Range | None
    estimate: Any
    reasons: tuple[Reason, ...]
    quality_metric: str | None = None
    quality_source: str | None = None
    measured: bool = False
    architecture: str | None = None
    over_volume: Costs | None = None
    """Cost over the horizon as a function of the requests a month."""


class Point(msgspec.Struct, frozen=True):
    """One option on the front of quality and cost [USD over the horizon]."""

    id: str
    stack: tuple[str, ...]
    quality: Range
    usd: Range


class Because(msgspec.Struct, frozen=True):
    """The rule that excludes, and what it says here."""

    rule: str
    says: str


class Excluded(msgspec.Struct, frozen=True):
    """An approach that is out, with every reason it is out for."""

    stack: tuple[str, ...]
    because: tuple[Because, ...]


class Flip(msgspec.Struct, frozen=True):
    """The nearest change of one answer that alters the first place."""

    condition: str = msgspec.field(name="if")
    then: tuple[str, ...]
    key: str
    value: Any
    delivery: str


class Stage(msgspec.Struct, frozen=True):
    """One step of the way: when to stop there, what it takes once, and the command that runs it.

    `usd` None is unknown; `budget_usd` is what to stop spending at.
    """

    do: str
    stop_if: str
    usd: Range | None
    option: str | None = None
    budget_usd: float | None = None
    command: str = ""


class Was(msgspec.Struct, frozen=True):
    """One thing that is another than it was."""

    what: str
    before: Any
    after: Any


class Since(msgspec.Struct, frozen=True):
    """What changed since an earlier recommendation, and why its answer did or did not."""

    stack: tuple[str, ...]
    delivery: str
    model: str | None
    same_answer: bool
    why: str
    answers: tuple[Was, ...] = ()
    prices: tuple[Was, ...] = ()
    models: tuple[Was, ...] = ()


class Recommendation(msgspec.Struct, frozen=True):
    """The advice: what to take first, what else, what is out, and what would change it."""

    verdict: Verdict
    says: str
    stack: tuple[str, ...]
    delivery: str
    options: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]
    flips: tuple[Flip, ...]
    confidence: float
    stages: tuple[Stage, ...]
    questions_left: tuple[str, ...]
    cautions: tuple[Reason, ...]
    prices_as_of: str | None
    runner_up: str | None = None
    """The option that leads where the first place's stack does not."""
    pareto: tuple[Point, ...] = ()
    """Options that no other beats in both expected quality and cost, the cheapest first."""
    answers: dict[str, Any] = {}
    """What was known, by key."""
    break_even: tuple[Crossing, ...] = ()
    """Of the first place and each other option: from which volume on which is cheaper."""
    bases: tuple[str, ...] = ()
    """The models that were considered."""
    since: Since | None = None
    considered: int = 0
    """Options that are possible at all: stack x base model x delivery x hardware."""
