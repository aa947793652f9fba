"""The arithmetic of proximal policy optimisation on tokens.

Shapes: B answers, T places that foretell a token. `said` [B, T] marks the places of an answer's
tokens; they follow each other, and whatever stands outside them is ignored.

Source: https://arxiv.org/abs/1707.06347 (clipping), https://arxiv.org/abs/1506.02438 (GAE),
https://arxiv.org/abs/1909.08593 (reward per token, adaptive price of KL).
"""

from typing import NamedTuple

import torch
from torch import Tensor

TINY = 1e-8
NOISE = 0.1  # gains of less than a tenth of a reward's unit: every answer is as good as another


class Price(NamedTuple):
    """What a nat of KL costs, and how that follows the KL towards a target.

    Args:
        coef: the price now.
        target: nats an answer may be away from the start.
        horizon: answers in which the price adapts.
    """

    coef: float
    target: float
    horizon: int

    def after(self, kl: float, answers: int) -> "Price":
        """The price after so many answers with that mean KL (its section 2.2)."""
        error = min(max(kl / self.target - 1.0, -0.2), 0.2)
        return self._replace(coef=self.coef * (1.0 + error * answers / self.horizon))


def token_rewards(scores: Tensor, kl: Tensor, said: Tensor, coef: float) -> Tensor:
    """What each token earns [B, T]: minus the price of its KL, and at the end the score [B]."""
    places = torch.arange(said.shape[1], device=said.device)
    last = (said * (places + 1)).argmax(dim=1)
    earned = -coef * kl * said
    return earned.scatter_add(1, last[:, None], scores[:, None].to(earned.dtype))


def advantages(
    rewards: Tensor, values: Tensor, said: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns of each token [B, T]; nothing follows an answer."""
    carry = torch.zeros_like(rewards[:, 0])
    following = torch.zeros_like(carry)
    found = torch.zeros_like(rewards)
    for place in reversed(range(rewards.shape[1])):
        here = said[:, place]
        delta = rewards[:, place] + gamma * following - values[:, place]
        carry = torch.where(here, delta + gamma * lam * carry, torch.zeros_like(carry))
        following = torch.where(here, values[:, place], torch.zeros_like(carry))
        found[:, place] = carry
    return found, (found + values) * said


def whitened(values: Tensor, said: Tensor, shift: bool = True, least: float = 0.0) -> Tensor:
    """Values in units of their spread over all answers [B, T], with or without mean zero.

    Args:
        least: spread below which values are noise, and are not blown up to a unit.
    """
    centre = mean(values, said)
    spread = mean((values - centre).square(), said).clamp_min(least**2)
    scaled = (values - centre) * torch.rsqrt(spread + TINY)
    return (scaled if shift else scaled + centre) * said


def policy_loss(
    logps: Tensor, old: Tensor, gains: Tensor, said: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """The clipped loss of the policy, and the share of tokens at the clip."""
    ratio = (logps - old).exp()
    free, held = -gains * ratio, -gains * ratio.clamp(1.0 - clip, 1.0 + clip)
    return mean(torch.maximum(free, held), said), mean((held > free).to(logps.dtype), said)


def value_loss(values: Tensor, old: Tensor, returns: Tensor, said: Tensor, clip: float) -> Tensor:
    """Half the squared error of the values, those that moved too far taken as if clipped."""
    held = old + (values - old).clamp(-clip, clip)
    worse = torch.maximum((values - returns).square(), (held - returns).square())
    return 0.5 * mean(worse, said)


def mean(values: Tensor, said: Tensor) -> Tensor:
    """The mean over all tokens of answers."""
    return (values * said).sum() / said.sum().clamp_min(1)
