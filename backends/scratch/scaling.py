"""What loss a long run will come to, from short runs of the same kind, before it is paid for.

The loss after D tokens of a complete schedule is E + B / D^b (https://arxiv.org/abs/2203.15556,
equation 2, at one size). Three runs do not fix three numbers, so what is known of b and of the
noise between runs is weighed in, and every curve that fits counts by how well it does.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import UserError

SHARES = (0.05, 0.1, 0.2)
EXPONENTS = np.linspace(0.1, 1.2, 56)
USUAL, SPREAD = math.log(0.45), 0.45
"""Log of the exponent, as a normal: published ones are 0.28 to 0.37 for large data
(https://arxiv.org/abs/2203.15556, https://arxiv.org/abs/2404.10102); small models early in their
training fall faster (docs/scratch.md)."""
NOISE = 0.013  # relative, between runs that differ by their seed and data order (docs/scratch.md)
LEVEL = 0.9
LEVELS = 200  # values of E tried
LEAST_FALL = 3.0  # falls between the runs in units of noise, without which nothing can be said


class Forecast(NamedTuple):
    """The loss expected, its 90 % interval, and why nothing can be said (then the rest is NaN)."""

    loss: float
    low: float
    high: float
    refusal: str = ""


def forecast(
    tokens: NDArray[np.float64],
    losses: NDArray[np.float64],
    goal: float,
    noise: float = NOISE,
) -> Forecast:
    """The loss of a run of `goal` tokens, from shorter ones.

    Args:
        noise: relative, between runs that differ by their seed and data order.
    Raises:
        UserError: fewer than three runs, or the goal is not the longest.
    """
    if len(tokens) < 3 or not (goal > tokens).all():
        raise UserError(f"a forecast needs three runs shorter than its own, not {len(tokens)}")
    order = np.argsort(tokens)
    tokens, losses = tokens[order], losses[order]
    fall = (losses[0] - losses[-1]) / (noise * losses[-1])
    if not np.isfinite(losses).all() or fall < LEAST_FALL:
        nothing = math.nan
        seen = ", ".join(f"{loss:.3f}" for loss in losses)
        return Forecast(nothing, nothing, nothing, f"the short runs do not fall ({seen})")
    curves, weights = _curves(tokens, losses, goal, noise)
    order = np.argsort(curves)
    summed = np.cumsum(weights[order]) / weights.sum()
    low, middle, high = (
        float(curves[order][np.searchsorted(summed, at)])
        for at in ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2)
    )
    # What the run itself may be off by comes on top of what is not known of the curve.
    own = 1.645 * noise * middle
    return Forecast(middle, middle - math.hypot(middle - low, own),
                    middle + math.hypot(high - middle, own))  # fmt: skip


def _curves(
    tokens: NDArray[np.float64], losses: NDArray[np.float64], goal: float, noise: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss at the goal of every curve, and how well it fits: likelihood times what is known."""
    # L levels, E exponents, R runs.
    level_L11 = np.linspace(0.0, 0.98 * losses.min(), LEVELS)[:, None, None]
    x_LER = tokens ** -EXPONENTS[None, :, None]
    # The factor that fits best for each level and exponent, weighted by the relative noise.
    factor = ((losses - level_L11) * x_LER / losses**2).sum(-1) / (x_LER**2 / losses**2).sum(-1)
    off = (level_L11 + factor[..., None] * x_LER - losses) / (noise * losses)
    known = ((np.log(EXPONENTS) - USUAL) / SPREAD) ** 2
    at = level_L11[..., 0] + factor * goal**-EXPONENTS
    return at.ravel(), np.exp(-0.5 * ((off**2).sum(-1) + known)).ravel()
