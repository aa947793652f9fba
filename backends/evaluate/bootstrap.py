"""Intervals by resampling, in counts instead of copies.

A bootstrap resample of n items only changes how often each different outcome occurs, and those
counts are multinomial: n items with u different outcomes cost u numbers a resample, not n.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from backends.base import Metric
from knowledge.errors import UserError
from knowledge.statistics import wilson

Counts: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]

RESAMPLES = 2000
AT_ONCE = 4_000_000  # counts held at a time: 32 MB


def share(hits: int, trials: int) -> Metric:
    """The share of hits with its Wilson interval."""
    low, high = wilson(hits, trials)
    return Metric(hits / trials, low, high, trials)


def mean(scores: Sequence[float], seed: int = 13) -> Metric:
    """The mean of scores with its percentile bootstrap interval.

    Where every score is 0 or every score is 1 resampling sees no spread, so the Wilson interval
    stands in: one unseen item could still differ.

    Raises:
        UserError: there are no scores.
    """
    if not scores:
        raise UserError("no example to score; at least one is needed")
    values, counts = np.unique(np.asarray(scores, dtype=np.float64), return_counts=True)
    if len(values) == 1 and values[0] in (0.0, 1.0):
        return share(round(values[0]) * len(scores), len(scores))
    low, high = interval(counts, lambda drawn: drawn @ values / len(scores), seed)
    return Metric(float(np.mean(scores)), low, high, len(scores))


def interval(
    counts: NDArray[np.integer], statistic: Callable[[Counts], Values], seed: int
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a statistic of outcome counts.

    Args:
        counts: how often each different outcome occurred.
        statistic: from resampled counts (resamples x outcomes) to one value a resample.
    Source: https://doi.org/10.1201/9780429246593 (Efron and Tibshirani, chapter 13).
    """
    values = np.concatenate([statistic(drawn) for drawn in _resamples(counts, seed)])
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _resamples(counts: NDArray[np.integer], seed: int) -> Iterator[Counts]:
    draw = np.random.default_rng(seed)
    total = int(counts.sum())
    each = max(1, AT_ONCE // len(counts))
    for start in range(0, RESAMPLES, each):
        size = min(each, RESAMPLES - start)
        yield draw.multinomial(total, counts / total, size=size)
