"""The ranking under uncertainty: the chance of each way to be first, over all worlds."""

from collections.abc import Iterable, Mapping, Sequence
from math import erf, sqrt
from typing import Any

import msgspec

from advisor.measured import Measured
from advisor.options import Way
from advisor.recommendation.beliefs import QUICK_WORLDS, WORLDS, worlds
from advisor.recommendation.judgement import Judgement, chances, judged, kind, moved
from advisor.recommendation.overruling import after, overruled
from knowledge import rules

CLEARLY = 1.0  # points: a rival of another kind is clearly better from e times the odds
# The points are judged, not measured: each rule's may be a quarter more or less, and half a point
# is between two ways whatever the rules say. Source: the project's own judgement.
OFF_BY, APART = 0.25, 0.5
RIGHT, DECIDED = 49, 50  # past decisions (advisor validate cases)
SUREST = (RIGHT + 1) / (DECIDED + 2)
"""No advice is surer than the record of all of it: Laplace's rule of succession.
Source: https://en.wikipedia.org/wiki/Rule_of_succession."""


class World(msgspec.Struct, frozen=True):
    """One way of filling in what is not known: its facts, its share, and the judgement in it."""

    facts: dict[str, Any]
    share: float
    judgement: Judgement


class Ranking(msgspec.Struct, frozen=True):
    """Ways with their chance of the first place, the first place first; worlds, likeliest first.

    `without` are the ways that estimates have ruled out.
    """

    chances: dict[Way, float]
    worlds: tuple[World, ...]
    without: frozenset[Way] = frozenset()

    @property
    def first(self) -> Way | None:
        """The first place; None where nothing is possible."""
        return next(iter(self.chances), None)

    @property
    def confidence(self) -> float:
        """The chance that no other kind of approach is clearly better; 0 where none is possible."""
        return 0.0 if self.first is None else _confidence(self.first, self.worlds, self.without)


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
    for judgement, share in _alike(seen):
        points = judgement.points
        if without:
            points = {way: value for way, value in points.items() if way not in without}
        for way, chance in chances(points).items():
            mixed[way] = mixed.get(way, 0.0) + share * chance
    if not mixed:
        return Ranking({}, seen)
    first = _first(mixed)
    rest = sorted((way for way in mixed if way != first), key=lambda way: -mixed[way])
    return Ranking(
        {way: _told(mixed[way], len(mixed)) for way in (first, *rest)},
        tuple(sorted(seen, key=lambda world: -world.share)),
        without,
    )


def _judged(facts: Mapping[str, Any], measured: Sequence[Measured]) -> Judgement:
    if not measured:
        return judged(facts)
    judgement = judged(after(facts, measured))
    return Judgement(judgement.fired, overruled(judgement, measured, facts))


def _alike(seen: tuple[World, ...]) -> Iterable[tuple[Judgement, float]]:
    """The judgements of all worlds with their shares, each once."""
    shares: dict[int, tuple[Judgement, float]] = {}
    for world in seen:
        _, share = shares.get(id(world.judgement), (None, 0.0))
        shares[id(world.judgement)] = world.judgement, share + world.share
    return shares.values()


def _told(chance: float, ways: int) -> float:
    """A chance as it is told: what the record leaves open is spread over all ways."""
    return SUREST * chance + (1 - SUREST) / ways


def _first(mixed: Mapping[Way, float]) -> Way:
    """The likeliest way of the likeliest primary approach: variants do not split its vote."""
    primaries: dict[str, float] = {}
    for way, chance in mixed.items():
        primaries[way.stack[0]] = primaries.get(way.stack[0], 0.0) + chance
    primary = max(primaries, key=lambda name: primaries[name])
    return max((way for way in mixed if way.stack[0] == primary), key=lambda way: mixed[way])


def _confidence(first: Way, seen: tuple[World, ...], without: frozenset[Way]) -> float:
    """The chance that no other kind of approach is clearly better than the first place's.

    Ties are no doubt: where two kinds are about as good, either is a right choice. What is open
    stands in the worlds; in each, the points of both are as uncertain as what moves them apart.
    """
    sure = 0.0
    for world in seen:
        points = world.judgement.points
        best: dict[str, Way] = {}
        for way in points:
            if way not in without:
                rival = best.get(kind(way))
                best[kind(way)] = way if rival is None else max(rival, way, key=points.__getitem__)
        own = best.pop(kind(first), None)
        if own is not None:
            chance = (_holds(own, rival, world.judgement) for rival in best.values())
            sure += world.share * min(chance, default=1.0)
    return min(sure, 1.0) * SUREST


def _holds(own: Way, rival: Way, judgement: Judgement) -> float:
    """The chance that a rival is not clearly better, its lead being normal about the points'."""
    table = rules.table()
    apart = [
        moved(table[key], own) - moved(table[key], rival)
        for key in judgement.fired
        if table[key].kind == "prefer"
    ]
    spread = sqrt(APART**2 + sum((OFF_BY * points) ** 2 for points in apart))
    lead = judgement.points[own] - judgement.points[rival] + CLEARLY
    return 0.5 * (1 + erf(lead / spread / sqrt(2)))
