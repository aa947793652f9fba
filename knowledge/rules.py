"""The rules of the advice, as data: conditions over facts, what follows, and on what grounds.

A rule says one of four things: `veto` (these approaches are out; with a `verdict`, building at all,
or yet), `require` (the stack must hold this), `prefer` (points for the first or a further place in
a stack) and `caution` (a sentence beside the advice). A belief says what an unanswered question
most likely hides. Both are rows; nothing in a row is executed.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import msgspec

from knowledge import DATA, evidence
from knowledge.errors import UserError
from knowledge.names import found
from knowledge.tables import by_id, yaml_rows

TUNING = ("lora", "qlora", "full-ft", "adapters")
TRAINING = (*TUNING, "head-ft", "soft-prompt", "cpt", "dpo", "ppo", "scratch")
APPROACHES = ("prompt", "rag", *TRAINING)
DELIVERIES = ("api", "hosted-ft", "self-hosted")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "tuning": TUNING,
    "training": TRAINING,
    "all": APPROACHES,
}
Kind = Literal["veto", "require", "prefer", "caution"]


class Clause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One condition on one fact, or `any` / `all` of several; an absent fact fulfils none."""

    fact: str = ""
    equals: Any = msgspec.field(name="is", default=None)
    among: tuple[Any, ...] = msgspec.field(name="in", default=())
    at_least: float | None = None
    below: float | None = None
    any: tuple["Clause", ...] = ()
    all: tuple["Clause", ...] = ()

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Whether the facts fulfil the condition."""
        if self.any:
            return any(clause.holds(facts) for clause in self.any)
        if self.all:
            return all(clause.holds(facts) for clause in self.all)
        value = facts.get(self.fact)
        if value is None:
            return False
        if self.equals is not None:
            return bool(value == self.equals)
        if self.among:
            return value in self.among
        low = self.at_least is None or value >= self.at_least
        return bool(low and (self.below is None or value < self.below))

    def facts(self) -> set[str]:
        """The facts it reads."""
        inner = {name for clause in (*self.any, *self.all) for name in clause.facts()}
        return inner | ({self.fact} if self.fact else set())


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule. It fires when all of `when` hold and none of `unless`.

    `out` bars approaches or deliveries anywhere, `out_first` from the first place only; `add` is
    what the stack must hold; `first` and `further` are points for the first and any further place
    (a delivery's points stand in `first`). Points are on a log-odds scale: one point makes a way
    e times as likely to be the best. `says` may name facts in braces.
    """

    id: str
    kind: Kind
    says: str
    when: tuple[Clause, ...] = ()
    unless: tuple[Clause, ...] = ()
    out: tuple[str, ...] = ()
    out_first: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    first: dict[str, float] = {}
    further: dict[str, float] = {}
    verdict: Literal["no-model", "labels-first", "reuse", "wait"] | None = None
    about: Literal["quality", "cost", "time", "risk"] = "quality"
    evidence: tuple[str, ...] = ()
    source: str | None = None

    def fires(self, facts: Mapping[str, Any]) -> bool:
        """Whether the rule applies to the facts."""
        for clause in self.when:  # plain loops: this is the hot path of every trial
            if not clause.holds(facts):
                return False
        for clause in self.unless:  # noqa: SIM110
            if clause.holds(facts):
                return False
        return True

    def facts(self) -> set[str]:
        """The facts it reads."""
        return {name for clause in (*self.when, *self.unless) for name in clause.facts()}

    def cited(self) -> str:
        """Its grounds as a reader looks them up."""
        rows = evidence.table()
        return "; ".join([rows[key].cited() for key in self.evidence] or [self.source or ""])


class Belief(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an unanswered question most likely hides, where `when` holds: shares by value.

    The shares are the authors' judgement of how such tasks usually are, not measurements.
    """

    id: str
    fact: str
    shares: dict[str, float]
    when: tuple[Clause, ...] = ()


@cache
def table() -> dict[str, Rule]:
    """All rules by id, groups of approaches spelled out.

    Raises:
        UserError: a row that is malformed, stands twice, cites nothing or what is not there, or
            whose consequence does not go with its kind.
    """
    rows = by_id(yaml_rows(DATA / "rules.yaml", Rule), "rules.yaml")
    return {key: _checked(_spelled(rule)) for key, rule in rows.items()}


def find(name: str) -> Rule:
    """The rule of that id, forgivingly."""
    return table()[found("rule", name, dict.fromkeys(table(), ()))]


@cache
def beliefs() -> dict[str, tuple[Belief, ...]]:
    """The beliefs by fact, in the order in which the first that applies is taken.

    Raises:
        UserError: a malformed row, one that stands twice, or shares that do not add up to one.
    """
    rows = by_id(yaml_rows(DATA / "beliefs.yaml", Belief), "beliefs.yaml")
    table: dict[str, tuple[Belief, ...]] = {}
    for row in rows.values():
        if abs(sum(row.shares.values()) - 1) > 1e-6:
            raise UserError(f"beliefs.yaml: the shares of {row.id!r} do not add up to one")
        table[row.fact] = (*table.get(row.fact, ()), row)
    return table


def _spelled(rule: Rule) -> Rule:
    def words(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word for name in names for word in GROUPS.get(name, (name,)))

    def points(given: dict[str, float]) -> dict[str, float]:
        """A word's own points stand over those of a group that holds it."""
        spread = {word: points for name, points in given.items() for word in GROUPS.get(name, ())}
        return spread | {name: value for name, value in given.items() if name not in GROUPS}

    return msgspec.structs.replace(
        rule,
        out=words(rule.out),
        out_first=words(rule.out_first),
        first=points(rule.first),
        further=points(rule.further),
    )


def _checked(rule: Rule) -> Rule:
    consequence = {
        "veto": rule.out or rule.out_first or rule.verdict,
        "require": rule.add,
        "prefer": rule.first or rule.further,
        "caution": rule.says,
    }
    if not consequence[rule.kind]:
        raise UserError(f"rules.yaml: {rule.id!r} is a {rule.kind} without its consequence")
    words = {*rule.out, *rule.out_first, *rule.add, *rule.first, *rule.further}
    for word in words - set(APPROACHES) - set(DELIVERIES):
        raise UserError(f"rules.yaml: {rule.id!r} speaks of {word!r}, which is no approach")
    for key in rule.evidence:
        if key not in evidence.table():
            raise UserError(f"rules.yaml: {rule.id!r} cites {key!r}, which is not in evidence.yaml")
    if not rule.evidence and (rule.kind in ("require", "prefer", "caution") or not rule.source):
        raise UserError(f"rules.yaml: {rule.id!r} cites nothing")
    return rule
