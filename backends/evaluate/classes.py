"""How well classes were told apart."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Metric
from backends.evaluate.bootstrap import Counts, Values, interval, mean, share
from knowledge.errors import UserError

BINS = 15

Names: TypeAlias = Sequence[str | None]


class ClassScore(msgspec.Struct, frozen=True):
    """One class: precision and recall are None where nothing was predicted or nothing is there."""

    label: str
    precision: float | None
    recall: float | None
    f1: float
    support: int
    predicted: int


class Confusion(msgspec.Struct, frozen=True):
    """How often one class was taken for another; `predicted` is None for no answer."""

    label: str
    predicted: str | None
    count: int


class _Cells(msgspec.Struct, frozen=True):
    """The cells of the confusion matrix that are not empty, and where each counts.

    Shapes: cells U, classes C; `true` and `said` [U] are numbers of classes, -1 for no answer.
    """

    classes: int
    counts: Counts
    true: Counts
    said: Counts

    def f1(self, counts: NDArray[np.integer]) -> tuple[Values, NDArray[np.bool_]]:
        """For cell counts (resamples x U): F1 by class, and which classes occur at all."""
        size = self._sums(counts, self.true) + self._sums(counts, self.said)
        hits = self._sums(counts, np.where(self.true == self.said, self.true, -1))
        safe = np.where(size > 0, size, 1)
        return 2 * hits / safe, size > 0

    def _sums(self, counts: NDArray[np.integer], places: Counts) -> Values:
        """For cell counts (resamples x U) their sums by the class of each cell."""
        order = np.argsort(places, kind="stable")
        order = order[places[order] >= 0]
        found = np.zeros((len(counts), self.classes))
        if len(order):
            ranked = places[order]
            starts = np.flatnonzero(np.diff(ranked, prepend=-1))
            found[:, ranked[starts]] = np.add.reduceat(counts[:, order], starts, axis=1)
        return found

    def macro_f1(self, counts: NDArray[np.integer]) -> Values:
        """For cell counts (resamples x U): the mean F1 of the classes that occur."""
        f1, occurs = self.f1(counts)
        averaged: Values = f1.sum(axis=1) / occurs.sum(axis=1)
        return averaged


def classification(
    labels: Sequence[str],
    predictions: Names,
    confidences: Sequence[float] | None = None,
    seed: int = 13,
) -> dict[str, Metric]:
    """Accuracy, macro-F1, and with confidences the expected calibration error.

    Macro-F1 averages over the classes that occur among labels or predictions; a prediction of
    None (no answer) is wrong and no class.

    Raises:
        UserError: there are no labels.
    """
    _paired(labels, predictions)
    right = sum(a == b for a, b in zip(labels, predictions, strict=True))
    metrics = {"accuracy": share(right, len(labels)), "macro_f1": _macro(labels, predictions, seed)}
    if confidences is not None:
        metrics["ece"] = calibration_error(labels, predictions, confidences)
    return metrics


def calibration_error(
    labels: Sequence[str], predictions: Names, confidences: Sequence[float]
) -> Metric:
    """The expected calibration error over 15 bins of equal width.

    It has no interval: resampling adds error of its own and would place it too high.

    Source: https://arxiv.org/abs/1706.04599, section 2.
    """
    _paired(labels, predictions)
    sure = np.asarray(confidences, dtype=np.float64)
    right = np.array([a == b for a, b in zip(labels, predictions, strict=True)], dtype=np.float64)
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=right - sure, minlength=BINS)
    return Metric(float(np.abs(gaps).sum() / len(labels)), n=len(labels))


def per_class(labels: Sequence[str], predictions: Names) -> list[ClassScore]:
    """Precision, recall and F1 of every class, the worst F1 first."""
    _paired(labels, predictions)
    hits = Counter(a for a, b in zip(labels, predictions, strict=True) if a == b)
    support, said = Counter(labels), Counter(p for p in predictions if p is not None)
    scores = [
        ClassScore(
            label=label,
            precision=hits[label] / said[label] if said[label] else None,
            recall=hits[label] / support[label] if support[label] else None,
            f1=2 * hits[label] / (support[label] + said[label]),
            support=support[label],
            predicted=said[label],
        )
        for label in support.keys() | said.keys()
    ]
    return sorted(scores, key=lambda score: (score.f1, score.label))


def confusions(labels: Sequence[str], predictions: Names, top: int = 10) -> list[Confusion]:
    """The pairs of classes most often confused, the commonest first."""
    wrong = Counter((a, b) for a, b in zip(labels, predictions, strict=True) if a != b)
    ranked = sorted(wrong.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [Confusion(label, said, count) for (label, said), count in ranked[:top]]


def paired_difference(labels: Sequence[str], a: Names, b: Names, seed: int = 13) -> Metric:
    """The accuracy of `a` minus that of `b` on the same items, with its paired interval."""
    _paired(labels, a)
    _paired(labels, b)
    triples = zip(labels, a, b, strict=True)
    return mean([float(x == label) - float(y == label) for label, x, y in triples], seed)


def _macro(labels: Sequence[str], predictions: Names, seed: int) -> Metric:
    cells = _cells(labels, predictions)
    value = float(cells.macro_f1(cells.counts[None, :])[0])
    if value in (0.0, 1.0):  # resampling sees no spread; the share of right answers still has one
        bounds = share(round(value) * len(labels), len(labels))
        return Metric(value, bounds.low, bounds.high, len(labels))
    low, high = interval(cells.counts, cells.macro_f1, seed)
    return Metric(value, low, high, len(labels))


def _cells(labels: Sequence[str], predictions: Names) -> _Cells:
    counted = Counter(zip(labels, predictions, strict=True))
    classes = sorted({name for pair in counted for name in pair if name is not None})
    place: dict[str | None, int] = {name: n for n, name in enumerate(classes)}
    true = np.array([place[label] for label, _ in counted], dtype=np.int64)
    said = np.array([place.get(prediction, -1) for _, prediction in counted], dtype=np.int64)
    return _Cells(len(classes), np.array(list(counted.values())), true, said)


def _paired(labels: Sequence[str], predictions: Names) -> None:
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions")
    if not labels:
        raise UserError("no example to score; at least one is needed")
