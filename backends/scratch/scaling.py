"""What loss a long run will come to, from short runs of the same kind, before it is paid for.

The loss after D tokens of a complete schedule is E + B / D^b (https://arxiv.org/abs/2203.15556,
equation 2, at one size). Three runs hardly fix three numbers, so what is known of b is weighed in,
the runs count the more the nearer they come to the whole one, and every curve that fits counts by
how well it does. What other texts were foretold by how much off is in the interval
(docs/scratch.md).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import UserError

SHARES = (0.05, 0.1, 0.2)
EXPONENTS = np.geomspace(0.05, 1.2, 80)
USUAL, SPREAD = math.log(0.26), 0.5
"""Log of the exponent, as a normal: of nine texts (docs/scratch.md). Published ones are 0.28 to
0.37 for large data (https://arxiv.org/abs/2203.15556, https://arxiv.org/abs/2404.10102)."""
NOISE = 0.003  # relative, between short runs that differ by their seed (docs/scratch.md)
FIRM, LOOSER = 0.002, 1.7
"""How far a run of a fifth may lie off the law, relative, and the power by which shorter ones may
lie farther: the law holds once the first, steep part of the learning is over."""
OFF = 0.09
"""By how much other texts were foretold wrong, as a share of the logarithm of the fall to come:
root mean square, each left out in turn when FIRM, LOOSER, USUAL and SPREAD are chosen
(docs/scratch.md)."""
BOUND = 1.86  # Student's t for the number of those texts, 90 %
APART = 1.15  # held-out loss over that on what was learnt; alike texts: 0.96 to 1.09
KNOWS = 0.95  # of the loss of token counts alone, below which a run has begun to learn order
LEVELS = 200  # values of E tried
LEAST_FALL = 3.0  # in units of noise, what tells a fall, or one that grows, from chance


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
    plain: float = math.inf,
    learnt: float = math.nan,
) -> Forecast:
    """The loss of a run of `goal` tokens, from three shorter ones or more.

    Nothing is said where the runs do not fall, or fall faster from one to the next: there the
    first part of the learning is not over, and no law holds yet. Nor where the shortest knows
    hardly more than how often each token occurs, or where the longest does far worse on the
    held-out text than on what it learnt from: that is then of another kind, and follows no law.

    Args:
        noise: relative, between runs that differ by their seed and data order.
        plain: the loss of saying each token as often as it occurs.
        learnt: the longest run's loss at its end on what it learnt from.
    Raises:
        UserError: fewer than three runs, or the goal is not the longest.
    """
    if len(tokens) < 3 or not (goal > tokens).all():
        raise UserError(f"a forecast needs three runs shorter than its own, not {len(tokens)}")
    order = np.argsort(tokens)
    tokens, losses = tokens[order], losses[order]
    refusal = _refusal(tokens, losses, noise, plain)
    if not refusal and losses[-1] > APART * learnt:
        refusal = (
            f"the held-out text ({losses[-1]:.3f}) is of another kind than what is learnt from "
            f"({learnt:.3f}); set data.validation"
        )
    if refusal:
        return Forecast(math.nan, math.nan, math.nan, refusal)
    curves, weights = _curves(tokens, losses, goal)
    order = np.argsort(curves)
    summed = np.cumsum(weights[order]) / weights.sum()
    loss = float(curves[order][np.searchsorted(summed, 0.5)])
    off = math.hypot(OFF * math.log(losses[-1] / loss), noise)
    return Forecast(loss, loss * math.exp(-BOUND * off), loss * math.exp(BOUND * off))


def _refusal(
    tokens: NDArray[np.float64], losses: NDArray[np.float64], noise: float, plain: float
) -> str:
    """Why nothing can be said; "" where something can."""
    seen = ", ".join(f"{loss:.3f}" for loss in losses)
    least = LEAST_FALL * noise * losses[-1]
    if not (np.isfinite(losses).all() and losses[0] - losses[-1] >= least):
        return f"the short runs do not fall ({seen})"
    if losses[0] > KNOWS * plain:
        return (
            f"the shortest run ({losses[0]:.3f}) knows hardly more than how often each token "
            f"occurs ({plain:.3f}): the whole run is too short to tell"
        )
    steps = np.diff(np.log(tokens))
    if not (steps > 0).all():
        return "the whole run is so short that the short ones are of one length"
    falls = -np.diff(np.log(losses)) / steps
    chance = LEAST_FALL * noise * math.sqrt(6) / steps.min()  # of a difference of two falls
    if falls[-1] - falls[-2] > chance:
        return f"the short runs fall faster and faster ({seen}): they are too short to tell"
    return ""


def _curves(
    tokens: NDArray[np.float64], losses: NDArray[np.float64], goal: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The loss at the goal of every curve, and how well it fits: likelihood times what is known."""
    # L levels, E exponents, R runs.
    may_be_off_R = FIRM * (SHARES[-1] * goal / tokens) ** LOOSER * losses
    level_L11 = np.linspace(0.0, 0.98 * losses.min(), LEVELS)[:, None, None]
    x_LER = tokens ** -EXPONENTS[None, :, None]
    weight_R = 1 / may_be_off_R**2
    # The factor that fits best for each level and exponent.
    factor = ((losses - level_L11) * x_LER * weight_R).sum(-1) / (x_LER**2 * weight_R).sum(-1)
    off = (level_L11 + factor[..., None] * x_LER - losses) / may_be_off_R
    known = ((np.log(EXPONENTS) - USUAL) / SPREAD) ** 2
    fit = -0.5 * ((off**2).sum(-1) + known)
    at = level_L11[..., 0] + factor * goal**-EXPONENTS
    return at.ravel(), np.exp(fit - fit.max()).ravel()
