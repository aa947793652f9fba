"""Multinomial logistic regression on fixed features, to convergence.

Shapes: N rows, F features, C classes.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import cross_entropy

STRENGTHS = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
HELD_SHARE = 0.15
LARGE = 20_000_000  # rows times classes from which one strength is taken, without a search
FEW, MANY = 50, 200  # steps of the solver


class Fit:
    """A linear map to logits: `weight` [C, F] and `bias` [C], and the L2 strength chosen."""

    def __init__(self, weight_CF: torch.Tensor, bias_C: torch.Tensor, strength: float) -> None:
        self.weight, self.bias, self.strength = weight_CF, bias_C, strength


def fit(features_NF: torch.Tensor, labels_N: torch.Tensor, classes: int, seed: int) -> Fit:
    """The regression whose L2 strength does best on held-out rows, fitted again on all rows.

    Features are standardised for fitting, and the standardisation is folded into the map.

    Args:
        features_NF: floats; any scale.
        labels_N: class numbers, each class of `range(classes)` at least once.
    """
    middle_F, spread_F = features_NF.mean(0), features_NF.std(0).clamp_min(1e-6)
    scaled_NF = ((features_NF - middle_F) / spread_F).float()
    held = _held(labels_N, seed)
    strength = STRENGTHS[len(STRENGTHS) // 2]
    large = len(labels_N) * classes >= LARGE
    if held.any() and not held.all() and not large:
        strength = _best(scaled_NF, labels_N, classes, held)
    weight_CF, bias_C = next(_solutions(scaled_NF, labels_N, classes, [strength]))
    weight_CF = weight_CF / spread_F
    return Fit(weight_CF, bias_C - weight_CF @ middle_F, strength)


def _best(
    scaled_NF: torch.Tensor, labels_N: torch.Tensor, classes: int, held_N: torch.Tensor
) -> float:
    """The strength with the smallest loss on the held-out rows, looked for from the strongest.

    The loss falls and then rises along the path; weak strengths, which take long, are not tried
    once it rises.
    """
    best, lowest = STRENGTHS[0], float("inf")
    path = _solutions(scaled_NF[~held_N], labels_N[~held_N], classes, STRENGTHS)
    for strength, (weight_CF, bias_C) in zip(STRENGTHS, path, strict=False):
        loss = float(cross_entropy(scaled_NF[held_N] @ weight_CF.T + bias_C, labels_N[held_N]))
        if loss > lowest:
            break
        best, lowest = strength, loss
    return best


def _held(labels_N: torch.Tensor, seed: int) -> torch.Tensor:
    """A mask [N]: of each class a share of its rows, and always one row fewer than it has."""
    held_N = torch.zeros(len(labels_N), dtype=torch.bool)
    chance = torch.Generator().manual_seed(seed)
    for number in labels_N.unique().tolist():
        rows = (labels_N == number).nonzero().flatten()
        take = min(max(1, round(len(rows) * HELD_SHARE)), len(rows) - 1)
        held_N[rows[torch.randperm(len(rows), generator=chance)[:take]]] = True
    return held_N


def _solutions(
    scaled_NF: torch.Tensor, labels_N: torch.Tensor, classes: int, strengths: Sequence[float]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A solution for each strength, from strong to weak, each begun at the one before."""
    weight_CF = torch.zeros(classes, scaled_NF.shape[1], requires_grad=True)
    bias_C = torch.zeros(classes, requires_grad=True)
    most = FEW if len(scaled_NF) * classes >= LARGE else MANY
    for strength in strengths:
        steps = torch.optim.LBFGS(
            [weight_CF, bias_C], max_iter=most, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def loss(strength: float = strength, steps: torch.optim.LBFGS = steps) -> torch.Tensor:
            steps.zero_grad()
            value = cross_entropy(scaled_NF @ weight_CF.T + bias_C, labels_N)
            value = value + 0.5 * strength * weight_CF.square().sum()
            value.backward()
            return value

        steps.step(loss)
        yield weight_CF.detach().clone(), bias_C.detach().clone()
