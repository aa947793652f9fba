"""Flips: for each answer the nearest change that alters the first place, found by trying."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log10
from typing import Any, NamedTuple

from advisor.measured import Measured
from advisor.options import Way
from advisor.profile import choices
from advisor.recommendation.ranking import ranked
from advisor.recommendation.records import Flip
from advisor.recommendation.words import plain

# Answers that can change the advice, in the order of the questionnaire.
KEYS = (
    "task_type", "gap", "labelled_examples", "unlabelled_tokens", "corpus_in_base", "data_change",
    "citations", "privacy", "expertise", "hardware", "train_budget_usd", "tried",
    "domain_distance", "n_classes", "volume_per_month", "latency", "preference_pairs",
    "verifiable_reward", "n_tasks_on_base", "provenance",
)  # fmt: skip
LADDERS: Mapping[str, tuple[float, ...]] = {
    "labelled_examples": (0, 20, 50, 200, 500, 2000, 10_000, 50_000, 250_000),
    "unlabelled_tokens": (0, 100_000, 300_000, 10**7, 10**8, 10**9, 10**10, 10**11, 10**12),
    "train_budget_usd": (0, 20, 500, 1000, 5000, 20_000, 100_000, 1_000_000),
    "n_classes": (2, 10, 50, 200, 1000, 5000),
    "volume_per_month": (10, 1000, 100_000, 1_000_000, 10_000_000),
    "preference_pairs": (0, 1000, 10_000, 100_000, 1_000_000),
    "n_tasks_on_base": (1, 3, 10),
}
HALVINGS = 12


Lead = Callable[[Mapping[str, Any]], Way | None]
"""The first place for some answers."""


class Change(NamedTuple):
    """One answer changed: how far that is, the condition in words, and the first place then."""

    distance: float
    condition: str
    key: str
    value: Any
    first: Way


def flips(answers: Mapping[str, Any], now: Way, lead: Lead | None = None) -> tuple[Flip, ...]:
    """The nearest change of each answer that alters the stack or its delivery, nearest first."""
    found = []
    for key in KEYS:
        changes = list(_changes(key, answers, now, lead or first))
        if changes:
            found.append(min(changes, key=lambda change: change.distance))
    # What the task is cannot be changed at will, and a new delivery is less than a new stack.
    found.sort(key=lambda c: (c.first.stack == now.stack, c.key == "task_type", c.distance))
    return tuple(Flip(c.condition, c.first.stack, c.key, c.value, c.first.delivery) for c in found)


def first(
    answers: Mapping[str, Any],
    without: frozenset[Way] = frozenset(),
    measured: Sequence[Measured] = (),
) -> Way | None:
    """The first place by the cheap path: rules only, few worlds, no estimate."""
    return ranked(answers, quick=True, without=without, measured=measured).first


def settle(answers: Mapping[str, Any]) -> Change | None:
    """The nearest single change that makes anything possible at all, where nothing is."""
    nothing = Way((), "")
    found = [change for key in KEYS for change in _changes(key, answers, nothing, first)]
    return min(found, key=lambda change: change.distance, default=None)


def _changes(key: str, answers: Mapping[str, Any], now: Way, lead: Lead) -> Iterator[Change]:
    if key in LADDERS:
        yield from _numbers(key, answers, now, lead)
        return
    words = choices(key)
    old = answers.get(key)
    at = words.index(old) if old in words else None
    for index, word in enumerate(words):
        if word == old:
            continue
        then = lead({**answers, key: word})
        if then is not None and then != now:
            distance = 1.0 + (abs(index - at) if at is not None else 0) / len(words)
            yield Change(distance, f"{key} = {plain(word)}", key, word, then)


def _numbers(key: str, answers: Mapping[str, Any], now: Way, lead: Lead) -> Iterator[Change]:
    old = answers.get(key)
    ladder = LADDERS[key]
    if old is None:
        for value in ladder:
            then = lead({**answers, key: value})
            if then is not None and then != now:
                yield Change(1.5, f"{key} = {plain(value)}", key, value, then)
        return
    for side in ([v for v in ladder if v > old], [v for v in reversed(ladder) if v < old]):
        near = old
        for value in side:
            then = lead({**answers, key: value})
            if then is not None and then != now:
                edge, then = _edge(key, answers, now, lead, near, value, then)
                sign = ">=" if value > old else "<="
                distance = abs(log10(1 + edge) - log10(1 + old))
                yield Change(distance, f"{key} {sign} {plain(edge)}", key, edge, then)
                break
            near = value


def _edge(
    key: str,
    answers: Mapping[str, Any],
    now: Way,
    lead: Lead,
    same: float,
    other: float,
    then: Way,
) -> tuple[float, Way]:
    """The nearest value at which the first place is another, to about two figures."""
    for _ in range(HALVINGS):
        if abs(other - same) <= max(1, 0.02 * abs(other)):
            break
        middle = round((same + other) / 2)
        there = lead({**answers, key: middle})
        if there is None or there == now:
            same = middle
        else:
            other, then = middle, there
    return other, then
