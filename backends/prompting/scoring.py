"""The metrics of a task, gathered outcome by outcome so that none has to be kept."""

import sys
from array import array
from collections.abc import Callable, Sequence
from typing import TypeAlias

from backends.base import Metric
from backends.evaluate import classification, mean, share
from backends.evaluate.answers import same_answer, token_overlap
from backends.evaluate.structures import field_f1, same_structure
from backends.evaluate.texts import ROUGES, chrf, rouge
from backends.prompting import Settings, TaskName
from backends.prompting.answers import Outcome
from backends.prompting.items import Item

# From an answer (None: none that can be used) and the accepted ones to named scores, 0 to 1.
Scores: TypeAlias = Callable[[str | None, Sequence[str]], dict[str, float]]
SHARES = {"exact_match", "valid"}  # shares of yes; Wilson intervals


def _matched(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    return {
        "exact_match": float(same_answer(answer, accepted)),
        "token_f1": token_overlap(answer, accepted),
    }


def _extracted(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    return {
        "valid": float(answer is not None),
        "exact_match": float(same_structure(answer, accepted)),
        "field_f1": field_f1(answer, accepted),
    }


def _written(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    return {**rouge(answer, accepted), "token_f1": token_overlap(answer, accepted)}


def _translated(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    return {"chrf": chrf(answer, accepted), "exact_match": float(same_answer(answer, accepted))}


def _reasoned(answer: str | None, accepted: Sequence[str]) -> dict[str, float]:
    number = _number(answer)
    hit = same_answer(answer, accepted) or (
        number is not None and any(number == _number(one) for one in accepted)
    )
    return {"exact_match": float(hit)}


BY_TASK: dict[TaskName, Scores] = {
    "extract": _extracted,
    "qa": _matched,
    "assistant": _written,
    "generate": _written,
    "summarize": _written,
    "translate": _translated,
    "code": _matched,
    "sql": _matched,
    "reason": _reasoned,
    "predict-sequence": _matched,
    "classify": _matched,
}


class Tally:
    """Scores as they come; `metrics` sums them up. An item without an answer counts as wrong."""

    def __init__(self, settings: Settings, labels: Sequence[str]) -> None:
        usual: TaskName = "extract" if settings.schema is not None else "qa"
        self._scores = BY_TASK[settings.task or usual]
        self._labelled = bool(labels)
        self._truth: list[str] = []
        self._said: list[str | None] = []
        self._columns: dict[str, array[float]] = {}

    def take(self, item: Item, outcome: Outcome) -> None:
        """Score one outcome; an item with no accepted answer is not scored."""
        if not item.accepted:
            return
        if self._labelled:
            self._truth.append(sys.intern(item.accepted[0]))
            self._said.append(None if outcome.label is None else sys.intern(outcome.label))
            return
        answer = None if outcome.failed else outcome.value
        scores = self._scores(answer, item.accepted)
        for name, score in scores.items():
            self._columns.setdefault(name, array("d")).append(score)

    def metrics(self, seed: int) -> dict[str, Metric]:
        """Each metric with its 95 % interval: Wilson for shares, bootstrap for the others."""
        if self._truth:
            return classification(self._truth, self._said, seed=seed)
        return {
            name: share(round(sum(column)), len(column)) if name in SHARES else mean(column, seed)
            for name, column in self._columns.items()
        }

    def primary(self) -> list[float]:
        """The score of each item under the task's first metric, for paired comparisons."""
        if self._truth:
            return [float(a == b) for a, b in zip(self._truth, self._said, strict=True)]
        return list(next(iter(self._columns.values()), ()))

    @property
    def primary_name(self) -> str:
        """What the task's first metric is called."""
        return "accuracy" if self._labelled else next(iter(self._columns), "none")


def _number(text: str | None) -> float | None:
    """The number that an answer is, without the signs of money and thousands."""
    if text is None:
        return None
    try:
        return float(text.strip().strip("$€£%.").replace(",", "").split()[0])
    except (ValueError, IndexError):
        return None


__all__ = ["BY_TASK", "ROUGES", "SHARES", "Scores", "Tally"]
