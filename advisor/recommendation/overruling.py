"""What was measured on the user's task overrules what rules say about quality.

Ways that were measured stand apart by their measured difference alone; ways of the same kind move
with them. Cost, time and risk keep their points, and nothing measured lifts a veto.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.measured import Measured
from advisor.options import Way
from advisor.recommendation.judgement import Judgement, kind, moved
from knowledge import quality, rules

POINTS = 30.0
"""Points of log-odds for a quality of one: three in a hundred are worth a factor of e.
Source: the project's own judgement."""


def overruled(
    judgement: Judgement, measured: Sequence[Measured], facts: Mapping[str, Any]
) -> dict[Way, float]:
    """The points of every way still in, those measured set by what was measured."""
    points = judgement.points
    found = {way: row for way in points if (row := of_way(way, measured)) is not None}
    if not found:
        return points
    target = facts.get("target_quality")
    believed = {way: believed_points(judgement, way) for way in found}
    # More than is needed counts for nothing, so that the cheaper of two that suffice leads.
    worth = {way: POINTS * min(row.value, target or 1.0) for way, row in found.items()}
    at = sum(believed[way] - POINTS * _hoped(way, facts, found[way]) for way in found) / len(found)
    moves = {way: at + worth[way] - believed[way] for way in found}
    of_kind: dict[str, list[float]] = {}
    for way, move in moves.items():
        of_kind.setdefault(kind(way), []).append(move)
    mean = {name: sum(each) / len(each) for name, each in of_kind.items()}
    return {way: value + moves.get(way, mean.get(kind(way), 0.0)) for way, value in points.items()}


def after(facts: Mapping[str, Any], measured: Sequence[Measured]) -> Mapping[str, Any]:
    """The facts once something was measured: "nothing tried" is over with the first prompt."""
    if facts.get("tried") == "nothing" and any(row.stack == {"prompt"} for row in measured):
        return {**facts, "tried": "measured"}
    return facts


def of_way(way: Way, measured: Sequence[Measured]) -> Measured | None:
    """What was measured of a way's stack; the prompt that reads what is retrieved is understood."""
    for row in reversed(measured):
        if _bare(row.stack) == _bare(frozenset(way.stack)):
            return row
    return None


def believed_points(judgement: Judgement, way: Way) -> float:
    """The points that rules about quality give a way."""
    table = rules.table()
    return sum(
        moved(table[key], way)
        for key in judgement.fired
        if table[key].kind == "prefer" and table[key].about == "quality"
    )


def _bare(stack: frozenset[str]) -> frozenset[str]:
    return stack - {"prompt"} or stack


def _hoped(way: Way, facts: Mapping[str, Any], row: Measured) -> float:
    """The quality that the rules' points stand for; what was measured where nothing says."""
    hoped = quality.expected(way.stack, facts)
    return row.value if hoped is None else hoped.range.mid
