"""Worlds: the profile with every unanswered question filled in, as it most likely is.

"Don't know" keeps every branch open. A fixed, evenly spread sample of worlds stands for them, so
the same profile always gives the same answer.
"""

from collections.abc import Mapping
from functools import cache
from math import sqrt
from typing import Any

from advisor.facts import derived
from advisor.profile import value_of
from knowledge import rules

WORLDS = 48
QUICK_WORLDS = 16
PRIMES = (
    2,
    3,
    5,
    7,
    11,
    13,
    17,
    19,
    23,
    29,
    31,
    37,
    41,
    43,
    47,
    53,
    59,
    61,
    67,
    71,
    73,
    79,
    83,
    89,
)


def worlds(answers: Mapping[str, Any], count: int = WORLDS) -> list[tuple[dict[str, Any], float]]:
    """Complete facts with their share of all worlds; those that come out alike are one.

    Where everything is answered there is a single world.
    """
    unanswered = [fact for fact in rules.beliefs() if answers.get(fact) is None]
    filled: dict[tuple[str, ...], dict[str, Any]] = {}
    hits: dict[tuple[str, ...], int] = {}
    for number in range(count if unanswered else 1):
        world = _filled(answers, unanswered, number)
        key = tuple(str(world[fact]) for fact in unanswered)
        hits[key] = hits.get(key, 0) + 1
        filled.setdefault(key, world)
    total = sum(hits.values())
    return [(derived(world), hits[key] / total) for key, world in filled.items()]


def _filled(answers: Mapping[str, Any], unanswered: list[str], number: int) -> dict[str, Any]:
    world = dict(answers)
    for fact in unanswered:
        for conditions, shares in _rows(fact):
            if all(clause.holds(world) for clause in conditions):
                world[fact] = _drawn(shares, _spread(fact, number))
                break
    return world


@cache
def _rows(fact: str) -> tuple[tuple[tuple[rules.Clause, ...], tuple[tuple[Any, float], ...]], ...]:
    """The beliefs about a fact, their values as the profile keeps them."""
    return tuple(
        (row.when, tuple((value_of(fact, word), share) for word, share in row.shares.items()))
        for row in rules.beliefs()[fact]
    )


@cache
def _spread(fact: str, number: int) -> float:
    """A point of (0, 1): for each fact its own evenly spread sequence (Kronecker's)."""
    prime = PRIMES[tuple(rules.beliefs()).index(fact)]
    return float((0.5 + number * sqrt(prime)) % 1)


def _drawn(shares: tuple[tuple[Any, float], ...], point: float) -> Any:
    for value, share in shares:
        point -= share
        if point < 0:
            return value
    return shares[-1][0]
