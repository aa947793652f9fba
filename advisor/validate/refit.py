"""The constants of training speed fitted anew without some of the rows, and what they predict.

An error on rows that a fit has seen says little. Here each organisation is left out in turn, the
coefficients of `advisor.estimates.efficiency` are fitted to all other packaged rows from the same
neutral start, and the organisation's rows are predicted with them.
"""

from collections.abc import Mapping, Sequence
from math import exp, log, sqrt
from typing import Any, NamedTuple

from advisor.estimates import duration, flops, padding
from advisor.estimates.efficiency import Coefficients, Traits, progress, share, traits
from advisor.estimates.settling import settled as physics
from advisor.job import settled
from knowledge.quantities import HOUR

START = Coefficients(0.5, 1000.0, 0.3, 1.5, 0.8, 0.9)
"""Where every fit begins; the shipped values have seen the rows that are left out."""
ROUNDS = 30
SMOOTH = 0.1
"""Below this error of the logarithm the loss is quadratic, above it is the absolute error."""
DAMPED = 1e-3


class Point(NamedTuple):
    """A measured row as the fit sees it.

    `ideal` are the GPU-hours at the full peak; `whole` says that the hours are those of a whole
    run, with all that interrupts it, and not of a steady step.
    """

    organisation: str
    traits: Traits
    ideal: float
    hours: float
    whole: bool
    weight: float = 1.0


def point(
    keys: Mapping[str, Any], measured: float, organisation: str, *, whole: bool
) -> Point | None:
    """The row as the fit sees it; None where it is no training on a GPU.

    Args:
        measured: GPU-hours of a whole run, else tokens per second per GPU.
    Raises:
        UserError: the job says something that cannot be.
    """
    job = settled(keys)
    w = physics(job)
    if job.gpu is None or job.gpu == duration.CPU or not w.trains:
        return None
    rate = duration.device_rate(job, w)
    tokens = duration.work(job, w).tokens if whole else 1.0
    if rate is None or not tokens:
        return None
    ideal = tokens * flops.training(w) / (rate.mid * padding.useful(job, w).mid) / HOUR
    hours = measured if whole else 1 / measured / HOUR
    return Point(organisation, traits(job, w, duration.card(job.gpu)), ideal, hours, whole)


def hours(point: Point, by: Coefficients) -> float:
    """GPU-hours of a row as the coefficients predict them."""
    spent = point.ideal / share(point.traits, by)
    return spent / progress(spent, by.goodput) if point.whole else spent


def fitted(points: Sequence[Point]) -> Coefficients:
    """The coefficients with the smallest smoothed absolute error of the logarithm.

    Gauss-Newton on the logarithms of the coefficients, every row weighed by its weight over its
    error, which turns squares into absolute values.
    """
    here = [log(value) for value in START]
    for _ in range(ROUNDS):
        errors = _errors(points, here)
        slopes = []
        for index in range(len(here)):
            moved = list(here)
            moved[index] += 1e-4
            slopes.append(
                [(m - e) / 1e-4 for m, e in zip(_errors(points, moved), errors, strict=True)]
            )
        weights = [p.weight / sqrt(e * e + SMOOTH**2) for p, e in zip(points, errors, strict=True)]
        matrix = [
            [sum(w * a * b for w, a, b in zip(weights, one, two, strict=True)) for two in slopes]
            for one in slopes
        ]
        damped = DAMPED * sum(weights)
        for index, row in enumerate(matrix):
            row[index] += damped
        right = [
            -sum(w * a * e for w, a, e in zip(weights, one, errors, strict=True)) for one in slopes
        ]
        step = _solved(matrix, right)
        here = [x + max(-0.5, min(0.5, d)) for x, d in zip(here, step, strict=True)]
        if max(map(abs, step)) < 1e-3:
            break
    return Coefficients(*map(exp, here))


def _errors(points: Sequence[Point], logs: Sequence[float]) -> list[float]:
    by = Coefficients(*map(exp, logs))
    return [log(hours(point, by) / point.hours) for point in points]


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a small positive definite system, by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            by = rows[below][pivot] / rows[pivot][pivot]
            rows[below] = [b - by * a for a, b in zip(rows[pivot], rows[below], strict=True)]
    found = [0.0] * size
    for index in reversed(range(size)):
        known = sum(rows[index][k] * found[k] for k in range(index + 1, size))
        found[index] = (rows[index][-1] - known) / rows[index][index]
    return found
