"""Why: the rules behind a way's place and behind every exclusion, in words with their sources."""

from collections.abc import Iterator, Mapping
from typing import Any

from advisor.facts import DERIVED
from advisor.options import Way
from advisor.recommendation.judgement import bars, moved, ways
from advisor.recommendation.ranking import Ranking
from advisor.recommendation.records import Because, Excluded, Reason
from advisor.recommendation.words import said
from knowledge import rules
from knowledge.rules import Rule

FOR, AGAINST = 6, 3  # reasons shown each way
LIKELY = 0.5


def shares(ranking: Ranking) -> dict[str, float]:
    """The share of worlds in which each rule fires."""
    fired: dict[str, float] = {}
    for world in ranking.worlds:
        for rule in world.judgement.fired:
            fired[rule] = fired.get(rule, 0.0) + world.share
    return fired


def reasons(way: Way, ranking: Ranking, facts: Mapping[str, Any]) -> tuple[Reason, ...]:
    """What speaks for a way, the weightiest first, then what speaks against it."""
    fired = {key: share for key, share in shares(ranking).items() if share >= LIKELY}
    table = rules.table()
    needed = [
        _reason(table[key], share, facts)
        for key, share in fired.items()
        if table[key].kind == "require" and not bars(table[key], way)
    ]
    points = {key: moved(table[key], way) for key in fired if table[key].kind == "prefer"}
    weighty = sorted((key for key in points if points[key]), key=lambda key: -abs(points[key]))
    good = [key for key in weighty if points[key] > 0][:FOR]
    bad = [key for key in weighty if points[key] < 0][:AGAINST]
    return (
        *sorted(needed, key=lambda reason: reason.rule),
        *(_reason(table[key], fired[key], facts, points[key]) for key in (*good, *bad)),
    )


def cautions(ranking: Ranking, facts: Mapping[str, Any]) -> tuple[Reason, ...]:
    """What to mind, whichever way is taken."""
    fired = shares(ranking)
    ruled = (
        _reason(rule, fired[rule.id], facts)
        for rule in rules.table().values()
        if rule.kind == "caution" and fired.get(rule.id, 0.0) >= LIKELY
    )
    return (*_counted(facts), *ruled)


def _counted(facts: Mapping[str, Any]) -> Iterator[Reason]:
    """What the user's own files call for."""
    texts = facts.get("personal_data")
    if texts:
        says = (
            f"{texts:,} texts hold what looks like personal data or secrets; settle where they may "
            "go before any leaves, and leave out what is not needed."
        )
        yield Reason("personal-data", says, "counted in the profile's own files")


def excluded(ranking: Ranking, facts: Mapping[str, Any]) -> tuple[Excluded, ...]:
    """The approaches that cannot lead in any world, with the rules that bar them."""
    fired = shares(ranking)
    found = []
    for approach in rules.APPROACHES:
        led = [way for way in ways() if way.stack[0] == approach]
        if any(way in ranking.chances for way in led):
            continue
        plainest = min(led, key=lambda way: (len(way.stack), way.delivery != "self-hosted"))
        against = [
            rule for rule in rules.table().values() if rule.id in fired and bars(rule, plainest)
        ]
        against.sort(key=lambda rule: -fired[rule.id])
        likely = [rule for rule in against if fired[rule.id] >= LIKELY] or against[:1]
        because = tuple(
            Because(rule.id, _says(rule, facts, _sure(rule, fired[rule.id], facts)))
            for rule in likely
        )
        found.append(Excluded((approach,), because))
    return tuple(found)


def _reason(
    rule: Rule, share: float, facts: Mapping[str, Any], points: float | None = None
) -> Reason:
    rounded = None if points is None else round(points, 2)
    sure = _sure(rule, share, facts)
    return Reason(rule.id, _says(rule, facts, sure), rule.cited(), rounded, sure)


def _sure(rule: Rule, share: float, facts: Mapping[str, Any]) -> bool:
    """Whether the rule fires by what is known, whatever the open questions hide."""
    return share > 1 - 1e-9 and rule.fires(facts)


def _says(rule: Rule, facts: Mapping[str, Any], sure: bool) -> str:
    """The rule's sentence; one that rests on an open question says so."""
    says = said(rule.says, facts)
    if sure:
        return says
    keys = {key for name in rule.facts() for key in DERIVED.get(name, (name,))}
    unanswered = " and ".join(sorted(key for key in keys if key not in facts))
    return f"Likely, but {unanswered} is open: {says[:1].lower()}{says[1:]}"
