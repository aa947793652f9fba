"""How well spans of texts were found: a span counts where its bounds and its label are right."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backends.base import Metric
from backends.evaluate.bootstrap import Counts, Values, interval
from backends.evaluate.classes import ClassScore
from knowledge.errors import UserError

Spans: TypeAlias = Sequence[tuple[int, int, str]]
Counted: TypeAlias = tuple[int, int, int]  # found rightly, said, there


def found_spans(
    wanted: Sequence[Spans], said: Sequence[Spans], seed: int = 13
) -> dict[str, Metric]:
    """Precision, recall and F1 of spans over all texts; F1 with an interval over texts.

    As conlleval counts (https://aclanthology.org/W03-0419, section 2.3). Where nothing is to be
    found and nothing is said all three are 1.

    Raises:
        UserError: there are no texts.
    """
    counted = _counted(wanted, said)
    right, told, there = (sum(one) for one in zip(*counted, strict=True))
    value, bounds = _bounds([counted], lambda totals: _f1(totals[0]), seed)
    return {
        "span_f1": Metric(value, *bounds, n=len(counted)),
        "span_precision": Metric(right / told if told else float(there == 0), n=told),
        "span_recall": Metric(right / there if there else 1.0, n=there),
    }


def paired_f1(
    wanted: Sequence[Spans], a: Sequence[Spans], b: Sequence[Spans], seed: int = 13
) -> Metric:
    """The F1 of `a` minus that of `b` on the same texts, with its paired interval."""
    pair = [_counted(wanted, a), _counted(wanted, b)]
    value, bounds = _bounds(pair, lambda totals: _f1(totals[0]) - _f1(totals[1]), seed)
    return Metric(value, *bounds, n=len(wanted))


def per_label(wanted: Sequence[Spans], said: Sequence[Spans]) -> list[ClassScore]:
    """Precision, recall and F1 of every label, the worst F1 first."""
    hits, there, told = Counter[str](), Counter[str](), Counter[str]()
    for right, found in zip(wanted, said, strict=True):
        there.update(label for _, _, label in set(right))
        told.update(label for _, _, label in set(found))
        hits.update(label for _, _, label in set(right) & set(found))
    scores = [
        ClassScore(
            label=label,
            precision=hits[label] / told[label] if told[label] else None,
            recall=hits[label] / there[label] if there[label] else None,
            f1=2 * hits[label] / (there[label] + told[label]),
            support=there[label],
            predicted=told[label],
        )
        for label in there.keys() | told.keys()
    ]
    return sorted(scores, key=lambda score: (score.f1, score.label))


def _counted(wanted: Sequence[Spans], said: Sequence[Spans]) -> list[Counted]:
    if not wanted:
        raise UserError("no example to score; at least one is needed")
    return [
        (len(set(right) & set(found)), len(set(found)), len(set(right)))
        for right, found in zip(wanted, said, strict=True)
    ]


def _f1(totals: NDArray[Any]) -> Values:
    """F1 of summed counts [..., 3]."""
    size = totals[..., 1] + totals[..., 2]
    found: Values = np.where(size > 0, 2 * totals[..., 0] / np.where(size > 0, size, 1), 1.0)
    return found


def _bounds(
    counted: Sequence[Sequence[Counted]], statistic: Callable[[NDArray[Any]], Values], seed: int
) -> tuple[float, tuple[float, float]]:
    """A statistic of summed counts and its bootstrap interval over texts.

    Texts with equal counts are one outcome, so a resample costs as many numbers as there are
    different ones.
    """
    joined = np.array([[one for part in row for one in part] for row in zip(*counted, strict=True)])
    kinds, times = np.unique(joined, axis=0, return_counts=True)

    def drawn(counts: Counts) -> Values:
        totals = (counts @ kinds).reshape(len(counts), len(counted), 3)
        return statistic(totals.transpose(1, 0, 2))

    value = float(drawn(times[None, :])[0])
    return value, interval(times, drawn, seed)
