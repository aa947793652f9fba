"""Compute-optimal sizing: the law's own rule of thumb, budgets that are spent, one best size."""

import pytest

from advisor import sizing
from advisor.job import settled
from knowledge.errors import UserError


def test_the_law_gives_about_twenty_tokens_a_parameter() -> None:
    """Chinchilla: 67B on 1.5T and 10B on 205B, table A3 of arXiv 2203.15556, within a half."""
    for parameters, tokens in ((1e9, 20.2e9), (10e9, 205.1e9), (67e9, 1.5e12)):
        assert tokens / 1.5 < sizing.tokens_for(parameters) < tokens * 1.5


def test_the_tokens_of_a_model_minimise_the_loss_at_its_compute() -> None:
    parameters = 3e9
    tokens = sizing.tokens_for(parameters)
    best = sizing.loss(parameters, tokens)
    for by in (0.8, 1.25):
        assert sizing.loss(parameters * by, tokens / by) > best


@pytest.mark.parametrize(("hours", "gpus"), [(24.0, 1), (1000.0, 64)])
def test_a_budget_of_hours_is_spent_and_no_size_beside_is_better(hours: float, gpus: int) -> None:
    job = settled({"gpu": "A100-SXM-80GB", "n_gpus": gpus})
    found = sizing.for_budget(job, hours=hours)
    assert found.estimate.time is not None and found.estimate.time.gpu_hours is not None
    assert found.estimate.time.gpu_hours.mid == pytest.approx(hours * gpus, rel=0.03)
    assert min(size.loss for size in found.beside) == found.best.loss
    assert 5 < found.best.tokens_per_parameter < 40


def test_a_budget_of_money_is_spent() -> None:
    found = sizing.for_budget(settled({"gpu": "H100-SXM-80GB", "n_gpus": 8}), usd=5000)
    assert found.estimate.money.usd is not None
    assert found.estimate.money.usd.mid == pytest.approx(5000, rel=0.03)


def test_more_money_buys_a_larger_model_and_more_tokens() -> None:
    job = settled({"gpu": "H100-SXM-80GB", "n_gpus": 8})
    small, large = (sizing.for_budget(job, usd=usd).best for usd in (100, 10_000))
    assert small.parameters < large.parameters and small.tokens < large.tokens
    assert large.loss < small.loss


def test_a_model_that_serves_much_is_smaller_and_as_good() -> None:
    """Sardana: 13B-quality with two trillion tokens of use is a 7B on 2.1 T, arXiv 2401.00448."""
    job = settled({"gpu": "H100-SXM-80GB", "n_gpus": 8})
    best = sizing.for_budget(job, usd=10_000).best
    before = best.parameters * 1.5
    for served in (0.0, 1e10, 1e12):
        found = sizing.with_serving(best, served)
        assert found.loss == pytest.approx(best.loss, rel=1e-6)
        assert found.parameters < before
        before = found.parameters
    assert found.tokens > 2 * best.tokens
    with pytest.raises(UserError, match="served is -1"):
        sizing.with_serving(best, -1.0)


@pytest.mark.parametrize("budget", [{}, {"usd": 0.0}, {"hours": -1.0}, {"usd": 1.0, "hours": 1.0}])
def test_no_budget_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(UserError):
        sizing.for_budget(settled({}), **budget)


def test_money_without_a_price_is_refused() -> None:
    with pytest.raises(UserError, match="needs a price"):
        sizing.for_budget(settled({"gpu": "TPU-v3"}), usd=100)
