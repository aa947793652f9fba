"""How well approaches did in published comparisons, as what to expect of a similar task.

A row holds for an approach and kinds of tasks; its conditions say where. Outside them it still
guides, with a wider interval (`expected`). A measured result on the user's own task overrules it.
"""

from collections.abc import Mapping
from functools import cache
from math import exp, log
from typing import Any, Literal

import msgspec

from knowledge import DATA, evidence
from knowledge.errors import UserError
from knowledge.quantities import Range
from knowledge.rules import APPROACHES, Clause
from knowledge.tables import by_id, yaml_rows

WIDER = 0.5
"""How much wider (of the half-width in log-odds) for each condition that is not known to hold.
Source: the project's own judgement."""
NEAREST_TO_CERTAIN = 0.005


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an approach reached where `when` held: an 80 % interval over such tasks.

    `stack` are the approaches together, the first leading; `metric` is what the share counts.
    """

    id: str
    stack: tuple[str, ...]
    tasks: tuple[str, ...]
    metric: Literal["share right", "preferred over a good prompt"]
    low: float
    mid: float
    high: float
    says: str
    evidence: tuple[str, ...]
    when: tuple[Clause, ...] = ()

    @property
    def range(self) -> Range:
        """The interval as published."""
        return Range(self.low, self.mid, self.high)

    def cited(self) -> str:
        """Its grounds as a reader looks them up."""
        return "; ".join(evidence.table()[key].cited() for key in self.evidence)


class Expected(msgspec.Struct, frozen=True):
    """What to expect: the widened interval, of which row, and which conditions are not met."""

    range: Range
    row: Quality
    unmet: tuple[str, ...]


@cache
def table() -> dict[str, Quality]:
    """All rows by id.

    Raises:
        UserError: a row that is malformed, stands twice, cites what is not there, or whose
            interval is none.
    """
    rows = by_id(yaml_rows(DATA / "quality.yaml", Quality), "quality.yaml")
    for row in rows.values():
        if not 0 < row.low <= row.mid <= row.high < 1:
            raise UserError(f"quality.yaml: {row.id!r} has no interval between 0 and 1")
        for word in set(row.stack) - set(APPROACHES):
            raise UserError(f"quality.yaml: {row.id!r} speaks of {word!r}, which is no approach")
        for key in row.evidence:
            if key not in evidence.table():
                raise UserError(f"quality.yaml: {row.id!r} cites {key!r}, not in evidence.yaml")
    return rows


def expected(stack: tuple[str, ...], facts: Mapping[str, Any]) -> Expected | None:
    """What to expect of a stack on a task; None where no row speaks of it.

    Of the rows about the stack, or about its leading approach, the one with the fewest unmet
    conditions is taken, then the one with the most conditions met. Each unmet one widens it.
    """
    task = facts.get("task_type")
    best: tuple[tuple[int, int, int], Quality] | None = None
    for row in table().values():
        whole = set(row.stack) == set(stack)
        if task not in row.tasks or not (whole or row.stack == stack[:1]):
            continue
        unmet = sum(not clause.holds(facts) for clause in row.when)
        key = (-unmet, int(whole), len(row.when) - unmet)
        if best is None or key > best[0]:
            best = key, row
    if best is None:
        return None
    row = best[1]
    unmet_clauses = [clause for clause in row.when if not clause.holds(facts)]
    names = tuple(sorted({name for clause in unmet_clauses for name in clause.facts()}))
    return Expected(widened(row.range, 1 + WIDER * len(unmet_clauses)), row, names)


def widened(range_: Range, factor: float) -> Range:
    """A share's interval, its half-widths in log-odds times a factor."""
    middle = _log_odds(range_.mid)
    ends = (middle + factor * (_log_odds(end) - middle) for end in (range_.low, range_.high))
    low, high = (1 / (1 + exp(-end)) for end in ends)
    return Range(round(low, 4), range_.mid, round(high, 4))


def shifted(range_: Range, by: float) -> Range:
    """A share's interval moved in log-odds."""
    moved = (1 / (1 + exp(-_log_odds(end) - by)) for end in (range_.low, range_.mid, range_.high))
    return Range(*(round(end, 4) for end in moved))


def apart(share: float, other: float) -> float:
    """How far a share lies above another, in log-odds."""
    return _log_odds(share) - _log_odds(other)


def _log_odds(share: float) -> float:
    inside = min(max(share, NEAREST_TO_CERTAIN), 1 - NEAREST_TO_CERTAIN)
    return log(inside / (1 - inside))
