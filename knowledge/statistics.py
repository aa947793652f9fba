"""Intervals for measured shares, once, for every room (no numpy)."""

from math import sqrt
from statistics import NormalDist

from knowledge.errors import UserError


def wilson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a share.

    Raises:
        UserError: no trials, or more hits than trials.
    Source: https://doi.org/10.1080/01621459.1927.10502953
    """
    if trials <= 0 or not 0 <= hits <= trials:
        raise UserError(f"no interval for {hits} of {trials}; at least one example is needed")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == trials else min(1.0, middle + half)
    return low, high
