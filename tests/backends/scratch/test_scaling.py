"""Foretelling a loss: runs as they were, made-up curves, noise, and curves that say nothing."""

import numpy as np
import pytest

from backends.scratch.scaling import NOISE, SHARES, forecast
from knowledge.errors import UserError

GOAL = 1.5e6
# Losses of a twentieth, a tenth, a fifth and the whole: the tables of docs/scratch.md.
MEASURED = {
    "wiki": (2.2213, 1.9955, 1.8432, 1.5595),
    "gsm8k, small": (2.5482, 2.2932, 2.0512, 1.6465),
    "tunes, small": (2.1667, 1.8809, 1.7098, 1.4263),
    "wiki, small": (2.4927, 2.2015, 2.0485, 1.7834),
    "gsm8k": (2.3445, 1.9679, 1.7438, 1.3764),
    "dialogues": (2.8765, 2.5661, 2.3241, 1.9132),
}


def losses(level: float, factor: float, exponent: float) -> np.ndarray:
    return level + factor * (np.asarray(SHARES) * GOAL) ** -exponent


@pytest.mark.parametrize("runs", MEASURED.values(), ids=MEASURED)
def test_runs_that_were_made_are_foretold(runs: tuple[float, float, float, float]) -> None:
    found = forecast(np.asarray(SHARES) * GOAL, np.asarray(runs[:3]), GOAL)
    assert found.loss == pytest.approx(runs[3], rel=0.02)
    assert found.low <= runs[3] <= found.high
    assert found.high < 1.05 * found.loss


# Level, factor, exponent; these as far as they are published.
@pytest.mark.parametrize("curve", [(1.0, 60.0, 0.32), (1.2, 25.0, 0.25), (0.8, 130.0, 0.37)])
def test_clean_curves_are_foretold(curve: tuple[float, float, float]) -> None:
    truth = curve[0] + curve[1] * GOAL ** -curve[2]
    found = forecast(np.asarray(SHARES) * GOAL, losses(*curve), GOAL)
    assert found.loss == pytest.approx(truth, rel=0.03)


def test_the_order_of_the_runs_does_not_matter() -> None:
    tokens, seen = np.asarray(SHARES) * GOAL, np.asarray(MEASURED["wiki"][:3])
    assert forecast(tokens[::-1], seen[::-1], GOAL) == forecast(tokens, seen, GOAL)


def test_the_farther_the_goal_the_wider_the_interval() -> None:
    tokens, seen = np.asarray(SHARES) * GOAL, np.asarray(MEASURED["wiki"][:3])
    near, far = (forecast(tokens, seen, goal) for goal in (GOAL, 4 * GOAL))
    assert far.loss < near.loss
    assert far.high / far.low > near.high / near.low


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ((2.0, 2.01, 1.99), "do not fall"),
        ((2.0, float("nan"), 1.5), "do not fall"),
        ((2.8791, 2.5294, 2.1425), "faster and faster"),  # Rust's documentation, small
    ],
)
def test_runs_that_say_nothing_foretell_nothing(seen: tuple[float, ...], says: str) -> None:
    found = forecast(np.asarray(SHARES) * GOAL, np.asarray(seen), GOAL)
    assert says in found.refusal
    assert np.isnan(found.loss)


def test_runs_of_one_length_foretell_nothing() -> None:
    found = forecast(np.asarray([10.0, 10.0, 20.0]), np.asarray([2.0, 2.0, 1.8]), 100.0)
    assert "of one length" in found.refusal


def test_runs_that_know_token_counts_alone_foretell_nothing() -> None:
    tokens, seen = np.asarray(SHARES) * GOAL, np.asarray([2.402, 2.393, 2.350])
    assert "how often each token occurs" in forecast(tokens, seen, GOAL, plain=2.398).refusal


def test_held_out_text_of_another_kind_is_not_foretold() -> None:
    tokens, seen = np.asarray(SHARES) * GOAL, np.asarray([2.934, 2.456, 2.055])  # Banking77, sorted
    assert "of another kind" in forecast(tokens, seen, GOAL, learnt=1.603).refusal
    assert not forecast(tokens, seen, GOAL, learnt=2.0).refusal


def test_a_fall_that_chance_could_make_grow_is_no_reason_to_say_nothing() -> None:
    falls = (2.0, 1.8, 1.8 * 0.9 * (1 - NOISE))
    assert not forecast(np.asarray(SHARES) * GOAL, np.asarray(falls), GOAL).refusal


def test_a_forecast_needs_three_shorter_runs() -> None:
    with pytest.raises(UserError, match="three runs"):
        forecast(np.asarray([1.0, 2.0]), np.asarray([2.0, 1.0]), 3.0)
    with pytest.raises(UserError, match="three runs"):
        forecast(np.asarray([1.0, 2.0, 4.0]), np.asarray([2.0, 1.5, 1.0]), 3.0)
