"""The arithmetic of scores, by hand."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.validate.records import Row, factor, off_by, quantile, report, scores


def row(measured, mid, low=None, high=None, source="a", method="lora", **other):
    return Row(
        id="x",
        group={"source": source, "method": method},
        measured=measured,
        low=0.9 * mid if low is None and mid else low,
        mid=mid,
        high=1.1 * mid if high is None and mid else high,
        unit="GiB",
        metric="allocated",
        **other,
    )


def skipped(**other):
    return row(10.0, None, skipped="unknown model", **other)


def test_errors():
    assert off_by(12, 10) == pytest.approx(0.2)
    assert off_by(8, 10) == pytest.approx(0.2)
    assert factor(5, 10) == factor(20, 10) == 2
    assert factor(0, 10) == inf


def test_quantiles_interpolate_and_an_infinite_one_is_none():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([0, 10], 0.9) == pytest.approx(9)
    assert quantile([], 0.5) is None
    assert quantile([1, 2, inf], 0.5) == 2
    assert quantile([1, 2, inf], 0.9) is None
    assert quantile([inf], 0.5) is None


def test_scores_by_hand():
    got = scores([row(10, 10), row(10, 12), row(10, 8), row(10, 10.5)], off_by)
    assert (got.n_scored, got.n_skipped) == (4, 0)
    assert got.median_error == pytest.approx((0.05 + 0.2) / 2)
    assert got.coverage_80 == 0.5  # 12 reaches down to 10.8, 8 up to 8.8
    assert got.above_high == 0.25
    assert got.width == pytest.approx(0.2)


def test_a_skipped_row_counts_as_wrong():
    good = [row(10, 10) for _ in range(3)]
    got = scores([*good, skipped()], off_by)
    assert (got.n_scored, got.n_skipped) == (3, 1)
    assert got.coverage_80 == 0.75
    assert got.median_error == 0
    assert got.p90_error is None
    assert scores([skipped()], off_by).coverage_80 == 0


def test_no_rows_score_nothing():
    got = scores([], off_by)
    assert (got.n_scored, got.median_error, got.coverage_80, got.above_high) == (
        0,
        None,
        None,
        None,
    )


def test_a_report_leaves_each_source_out_in_turn_and_groups():
    rows = [row(10, 10), row(10, 15, source="b", method="qlora"), row(10, 30, unscored="suspect")]
    got = report("memory", rows)
    assert got.rows == tuple(rows)
    assert got.summary.n_scored == 2
    assert got.summary.leave_one_out["b"].median_error == 0
    assert got.summary.leave_one_out["a"].median_error == pytest.approx(0.5)
    assert got.by_group["source"]["b"].n_scored == 1
    assert got.by_group["method"]["lora"].median_error == 0
    assert got.by_group["unscored"]["suspect"].median_error == pytest.approx(2)


def test_speeds_are_judged_by_factors():
    got = report("runs", [row(10, 20, 10, 40)], {"rule": [row(10, 5, 5, 5)]})
    assert got.summary.median_error == 2
    assert got.summary.width == 4
    assert got.summary.baselines["rule"].median_error == 2


@given(
    values=st.lists(st.floats(0, 100), min_size=1, max_size=30),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_quantiles_are_ordered_and_within_the_values(values, low, high):
    low, high = sorted((low, high))
    assert min(values) <= quantile(values, low) + 1e-9
    assert quantile(values, low) <= quantile(values, high) + 1e-9
    assert quantile(values, high) <= max(values) + 1e-9
