"""How good the estimates are on the packaged published measurements, so that none gets worse."""

from advisor import validate
from knowledge import measured


def test_memory() -> None:
    summary = validate.memory(measured.memory()).summary
    assert summary.n_scored >= 280
    assert summary.n_skipped <= 0.05 * summary.n_scored
    assert summary.median_error is not None and summary.median_error <= 0.05
    assert summary.p90_error is not None and summary.p90_error <= 0.20
    assert summary.coverage_80 is not None and 0.75 <= summary.coverage_80 <= 0.90
    assert summary.above_high is not None and summary.above_high <= 0.03


def test_training_runs() -> None:
    summary = validate.runs(measured.runs()).summary
    assert summary.median_error is not None and summary.median_error <= 1.22
    assert summary.p90_error is not None and summary.p90_error <= 1.6
    assert summary.coverage_80 is not None and 0.75 <= summary.coverage_80 <= 0.90


def test_throughput() -> None:
    summary = validate.throughput(measured.throughput()).summary
    assert summary.median_error is not None and summary.median_error <= 1.2
    assert summary.p90_error is not None and summary.p90_error <= 1.6
    assert summary.coverage_80 is not None and 0.75 <= summary.coverage_80 <= 0.90


def test_runs_of_organisations_that_the_fit_has_not_seen() -> None:
    """The issue's own mark, and clearly better than six operations a token at a flat share."""
    outcome = validate.report("runs")
    assert isinstance(outcome, validate.Report)
    unseen = outcome.summary.leave_one_out.get("all")
    assert unseen is not None and unseen.n_skipped == 0
    assert unseen.median_error is not None and unseen.median_error <= 1.22
    assert unseen.p90_error is not None and unseen.p90_error <= 1.6
    assert unseen.coverage_80 is not None and 0.75 <= unseen.coverage_80 <= 0.90
    assert unseen.width is not None and unseen.width <= 2.5
    flat = outcome.summary.baselines["6ND at 35% of the peak"]
    assert flat.median_error is not None and unseen.median_error < flat.median_error - 0.05
    assert flat.p90_error is not None and unseen.p90_error < flat.p90_error


def test_speeds_of_organisations_that_the_fit_has_not_seen() -> None:
    outcome = validate.report("throughput")
    assert isinstance(outcome, validate.Report)
    unseen = outcome.summary.leave_one_out.get("all")
    assert unseen is not None
    assert unseen.median_error is not None and unseen.median_error <= 1.2
    assert unseen.p90_error is not None and unseen.p90_error <= 1.6
    assert unseen.coverage_80 is not None and 0.75 <= unseen.coverage_80 <= 0.90
