"""The ranking under uncertainty: the chance of each way to be first, over all worlds."""

from collections.abc import Mapping, Sequence
from math import exp, inf
from typing import Any

import msgspec

from advisor.measured import Measured
from advisor.options import Way
from advisor.recommendation.beliefs import QUICK_WORLDS, WORLDS, worlds
from advisor.recommendation.judgement import Judgement, chances, judged, kind
from advisor.recommendation.overruling import after, overruled

CLEARLY = 1.0  # points: a rival of another kind is clearly better from e times the odds


class World(msgspec.Struct, frozen=True):
    """One way of filling in what is not known: its facts, its share, and the judgement in it."""

    facts: dict[str, Any]
    share: float
    judgement: Judgement


class Ranking(msgspec.Struct, frozen=True):
    """Ways with their chance of the first place, the first place first; worlds, likeliest first.

    `confidence` is the chance that no other kind of approach is clearly better.
    """

    chances: dict[Way, float]
    confidence: float
    worlds: tuple[World, ...]

    @property
    def first(self) -> Way | None:
        """The first place; None where nothing is possible."""
        return next(iter(self.chances), None)


def ranked(
    answers: Mapping[str, Any],
    *,
    quick: bool = False,
    without: frozenset[Way] = frozenset(),
    measured: Sequence[Measured] = (),
) -> Ranking:
    """The ranking for the answers given, whatever is open.

    Args:
        quick: fewer worlds, for trying out what an answer would change.
        without: ways that estimates have ruled out.
        measured: what was measured on the task, which overrules rules about quality.
    """
    seen = tuple(
        World(facts, share, _judged(facts, measured))
        for facts, share in worlds(answers, QUICK_WORLDS if quick else WORLDS)
    )
    mixed: dict[Way, float] = {}
    for world in seen:
        points = {w: p for w, p in world.judgement.points.items() if w not in without}
        for way, chance in chances(points).items():
            mixed[way] = mixed.get(way, 0.0) + world.share * chance
    if not mixed:
        return Ranking({}, 0.0, seen)
    first = _first(mixed)
    rest = sorted((way for way in mixed if way != first), key=lambda way: -mixed[way])
    return Ranking(
        {way: mixed[way] for way in (first, *rest)},
        _confidence(first, seen, without),
        tuple(sorted(seen, key=lambda world: -world.share)),
    )


def _judged(facts: Mapping[str, Any], measured: Sequence[Measured]) -> Judgement:
    if not measured:
        return judged(facts)
    judgement = judged(after(facts, measured))
    return Judgement(judgement.fired, overruled(judgement, measured, facts))


def _first(mixed: Mapping[Way, float]) -> Way:
    """The likeliest way of the likeliest primary approach: variants do not split its vote."""
    primaries: dict[str, float] = {}
    for way, chance in mixed.items():
        primaries[way.stack[0]] = primaries.get(way.stack[0], 0.0) + chance
    primary = max(primaries, key=lambda name: primaries[name])
    return max((way for way in mixed if way.stack[0] == primary), key=lambda way: mixed[way])


def _confidence(first: Way, seen: tuple[World, ...], without: frozenset[Way]) -> float:
    """The chance that no other kind of approach is clearly better than the first place's.

    Ties are no doubt: where two kinds are about as good, either is a right choice.
    """
    sure = 0.0
    for world in seen:
        best: dict[str, float] = {}
        for way, points in world.judgement.points.items():
            if way not in without:
                best[kind(way)] = max(points, best.get(kind(way), points))
        own = best.pop(kind(first), None)
        if own is not None:
            rival = max(best.values(), default=-inf)
            sure += world.share / (1 + exp(rival - own - CLEARLY))
    return min(sure, 1.0)
