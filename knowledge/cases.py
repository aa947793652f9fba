"""Past decisions: profiles known beforehand, and which approaches were right."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from knowledge import DATA
from knowledge.errors import UserError
from knowledge.names import found
from knowledge.tables import by_id, yaml_value

APPROACHES = (
    "prompt", "rag", "head-ft", "full-ft", "lora", "qlora", "adapters", "soft-prompt", "cpt",
    "dpo", "ppo", "scratch",
)  # fmt: skip
"""The words that a stack is made of."""


class Source(msgspec.Struct, frozen=True):
    """Where a case is told."""

    title: str
    url: str


class Labels(msgspec.Struct, frozen=True):
    """One judge's view: the best stack, what else may lead, what must and what may not be in."""

    best_stack: tuple[str, ...]
    acceptable_primary: tuple[str, ...]
    must_include: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    def primary_ok(self, stack: tuple[str, ...]) -> bool:
        """Whether the stack leads with an acceptable approach."""
        return bool(stack) and stack[0] in self.acceptable_primary

    def must_ok(self, stack: tuple[str, ...]) -> bool:
        """Whether the stack has everything that it must."""
        return set(self.must_include) <= set(stack)

    def not_wrong(self, stack: tuple[str, ...]) -> bool:
        """Whether the stack has nothing that is wrong here."""
        return not set(self.wrong) & set(stack)

    def all_ok(self, stack: tuple[str, ...]) -> bool:
        """Whether the stack passes all three."""
        return self.primary_ok(stack) and self.must_ok(stack) and self.not_wrong(stack)


class Case(msgspec.Struct, frozen=True):
    """One decision: what was known (`profile`, the questionnaire's keys) and the judgements.

    A trap is a case where the obvious answer is wrong. `evidence_kind`: measured (the source
    compared approaches) or deployed (only what was shipped is known).
    """

    id: str
    task_type: str
    profile: dict[str, Any]
    labels: Labels
    family: str = ""
    year: int | None = None
    group: str = ""
    trap: bool = False
    evidence_kind: str = ""
    second_opinion: Labels | None = None
    source: Source | None = None
    source_status: str = ""

    def consensus(self) -> Labels:
        """What both judges allow: primaries of either, musts and wrongs of both."""
        other = self.second_opinion
        if other is None:
            return self.labels
        return Labels(
            self.labels.best_stack,
            tuple(dict.fromkeys(self.labels.acceptable_primary + other.acceptable_primary)),
            tuple(word for word in self.labels.must_include if word in other.must_include),
            tuple(word for word in self.labels.wrong if word in other.wrong),
        )


@cache
def table() -> Mapping[str, Case]:
    """The packaged cases by id."""
    return by_id(iter(rows()), "cases.yaml")


def find(name: str) -> Case:
    """The case that a name means.

    Raises:
        UserError: unknown.
    """
    return table()[found("case", name, dict.fromkeys(table(), ()))]


def rows(path: Path | None = None) -> list[Case]:
    """The cases of a file, packaged or the user's, in file order.

    The file is a list of cases or a mapping with the list under `cases`; keys that only tell the
    story are left alone, and `wrong` may be a mapping from approach to reason.

    Raises:
        UserError: the file cannot be read, a case lacks a part, or an approach is unknown.
    """
    path = path or DATA / "cases.yaml"
    value = yaml_value(path)
    listed = value.get("cases") if isinstance(value, dict) else value
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{str(path)!r} has no list of cases; see 'advisor validate --help'")
    return [_case(item, f"{path.name}, case {number}") for number, item in enumerate(listed, 1)]


def _case(item: Any, place: str) -> Case:
    if not isinstance(item, dict):
        raise UserError(f"{place} is no mapping but {item!r}; give id, task_type, profile, labels")
    plain = dict(item)
    plain.setdefault("id", f"row-{place.rsplit(' ', 1)[-1]}")
    for key in ("labels", "second_opinion"):
        if isinstance(plain.get(key), dict) and isinstance(plain[key].get("wrong"), dict):
            plain[key] = plain[key] | {"wrong": list(plain[key]["wrong"])}
    if plain.get("source_status") == "memory":
        plain["source_status"] = "remembered"
    try:
        case = msgspec.convert(plain, Case)
    except msgspec.ValidationError as error:
        raise UserError(f"{place}: {error}") from None
    for labels in (case.labels, case.second_opinion):
        words = () if labels is None else labels.acceptable_primary + labels.must_include
        for word in words:
            if word not in APPROACHES:
                raise UserError(f"{place}: no approach {word!r}; known: {', '.join(APPROACHES)}")
    return case
