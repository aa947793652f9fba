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
    assert summary.median_error is not None and summary.median_error <= 1.27
    assert summary.p90_error is not None and summary.p90_error <= 1.6
    assert summary.coverage_80 is not None and 0.75 <= summary.coverage_80 <= 0.90


def test_throughput() -> None:
    summary = validate.throughput(measured.throughput()).summary
    assert summary.median_error is not None and summary.median_error <= 1.2
    assert summary.p90_error is not None and summary.p90_error <= 1.6
    assert summary.coverage_80 is not None and 0.75 <= summary.coverage_80 <= 0.90
