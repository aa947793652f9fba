"""The judgement of one world: possible, vetoes, requirements, points, chances.

The order is always the same and stays visible: a stack is possible at all; no veto bars it; it
holds what is required; then points for quality, cost, time and risk; then the chance that it is
the best. No approach is named here: all that is known about them stands in the rules.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from math import exp
from typing import Any

import msgspec

from advisor.options import STACKS, Way, deliveries
from knowledge import rules
from knowledge.rules import TUNING, Rule

# Ways of tuning a generator stand in for each other; confidence is that of the kind.
KIND = dict.fromkeys((*TUNING, "soft-prompt"), "tuning")


class Judgement(msgspec.Struct, frozen=True):
    """What the rules say in one world: which fired, and the points of every way still in."""

    fired: frozenset[str]
    points: dict[Way, float]


def judged(facts: Mapping[str, Any]) -> Judgement:
    """The judgement of every possible way in one complete world."""
    return after_firing(tuple(rule.id for rule in rules.table().values() if rule.fires(facts)))


@lru_cache(maxsize=1024)
def after_firing(ids: tuple[str, ...]) -> Judgement:
    """The judgement where exactly these rules fire: all that a world is to the ways."""
    fired = [rules.table()[key] for key in ids]
    out = frozenset[Way]().union(*(barred(key) for key in ids))
    first, further = _summed(fired)
    points = {
        way: first.get(way.stack[0], 0.0)
        + first.get(way.delivery, 0.0)
        + sum(further.get(part, 0.0) for part in way.stack[1:])
        for way in ways()
        if way not in out
    }
    return Judgement(frozenset(ids), points)


@cache
def ways() -> tuple[Way, ...]:
    """Every stack in every delivery it can have."""
    return tuple(Way(stack, delivery) for stack in STACKS for delivery in deliveries(stack))


@cache
def barred(rule: str) -> frozenset[Way]:
    """The ways that a rule, having fired, leaves out: by a veto, or for lack of what it adds."""
    return frozenset(way for way in ways() if bars(rules.table()[rule], way))


def bars(rule: Rule, way: Way) -> bool:
    """Whether a rule, having fired, leaves a way out."""
    return (
        way.delivery in rule.out
        or way.stack[0] in rule.out_first
        or any(part in rule.out for part in way.stack)
        or any(part not in way.stack for part in rule.add)
    )


def kind(way: Way) -> str:
    """The kind of approach that leads a way: those of a kind stand in for each other."""
    return KIND.get(way.stack[0], way.stack[0])


def moved(rule: Rule, way: Way) -> float:
    """The points that a fired rule gives a way."""
    lead, *rest = way.stack
    return (
        rule.first.get(lead, 0.0)
        + rule.first.get(way.delivery, 0.0)
        + sum(rule.further.get(part, 0.0) for part in rest)
    )


def chances(points: Mapping[Way, float]) -> dict[Way, float]:
    """The chance of each way to be the best, from points on a log-odds scale.

    Primary approaches compete by their best way, and then the ways of each among themselves, so
    that an approach gains nothing from coming in many variants.
    """
    best: dict[str, float] = {}
    for way, value in points.items():
        best[way.stack[0]] = max(value, best.get(way.stack[0], value))
    odds = {way: exp(value - best[way.stack[0]]) for way, value in points.items()}
    variants: dict[str, float] = {}
    for way, value in odds.items():
        variants[way.stack[0]] = variants.get(way.stack[0], 0.0) + value
    top = max(best.values(), default=0.0)
    leads = {lead: exp(value - top) for lead, value in best.items()}
    total = sum(leads.values())
    return {
        way: leads[way.stack[0]] / total * value / variants[way.stack[0]]
        for way, value in odds.items()
    }


def _summed(fired: list[Rule]) -> tuple[dict[str, float], dict[str, float]]:
    first: dict[str, float] = {}
    further: dict[str, float] = {}
    for rule in fired:
        for word, value in rule.first.items():
            first[word] = first.get(word, 0.0) + value
        for word, value in rule.further.items():
            further[word] = further.get(word, 0.0) + value
    return first, further
