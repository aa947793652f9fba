"""Foretelling a loss: made-up curves, noise, and curves that say nothing."""

import numpy as np
import pytest

from backends.scratch.scaling import NOISE, SHARES, forecast
from knowledge.errors import UserError

GOAL = 1.5e6


def losses(level: float, factor: float, exponent: float, noise: float, seed: int = 0) -> np.ndarray:
    at = np.asarray(SHARES) * GOAL
    off = np.random.default_rng(seed).normal(size=3) * noise
    return (level + factor * at**-exponent) * (1 + off)


def of(level: float, factor: float, exponent: float) -> float:
    return level + factor * GOAL**-exponent


@pytest.mark.parametrize("curve", [(1.2, 300.0, 0.5), (1.5, 60.0, 0.35), (1.0, 2000.0, 0.65)])
def test_clean_curves_are_foretold_within_two_percent(curve: tuple[float, float, float]) -> None:
    found = forecast(np.asarray(SHARES) * GOAL, losses(*curve, noise=0.0), GOAL, noise=0.003)
    assert found.loss == pytest.approx(of(*curve), rel=0.02)
    assert found.low < of(*curve) < found.high


def test_intervals_hold_as_often_as_they_say() -> None:
    chance = np.random.default_rng(1)
    inside = 0
    for seed in range(60):
        curve = chance.uniform(1.0, 1.8), 0.0, float(np.exp(chance.normal(-0.8, 0.35)))
        first = chance.uniform(0.5, 1.0)  # nats above the level at the first run
        curve = curve[0], first * (0.05 * GOAL) ** curve[2], curve[2]
        found = forecast(np.asarray(SHARES) * GOAL, losses(*curve, NOISE, seed), GOAL)
        truth = of(*curve) * (1 + NOISE * chance.normal())
        inside += found.low <= truth <= found.high
    assert inside >= 48  # 90 % of 60 are 54; fewer than 48 would happen once in a hundred


def test_runs_that_do_not_fall_foretell_nothing() -> None:
    found = forecast(np.asarray(SHARES) * GOAL, np.asarray([2.0, 2.01, 1.99]), GOAL)
    assert "do not fall" in found.refusal
    assert np.isnan(found.loss)


def test_a_forecast_needs_three_shorter_runs() -> None:
    with pytest.raises(UserError, match="three runs"):
        forecast(np.asarray([1.0, 2.0]), np.asarray([2.0, 1.0]), 3.0)
    with pytest.raises(UserError, match="three runs"):
        forecast(np.asarray([1.0, 2.0, 4.0]), np.asarray([2.0, 1.5, 1.0]), 3.0)
