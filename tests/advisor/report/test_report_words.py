"""Figures as people read them."""

import datetime as dt

import pytest

from advisor.report.words import dated, duration, interval, rounded, sure, usd
from knowledge.quantities import Range, exactly

TODAY = dt.date(2026, 9, 15)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.00123, "0.0012"), (0.5, "0.50"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_about_three_digits(value: float, shown: str) -> None:
    assert rounded(value) == shown


def test_unknown_is_a_word_and_a_sum_with_a_gap_says_at_least() -> None:
    assert interval(None) == usd(None) == duration(None) == "unknown"
    assert usd(Range(1, 2, 3), at_least=True) == "at least 2.00 USD (1.00 to 3.00)"


def test_money_below_a_cent_gives_no_false_digits() -> None:
    assert usd(exactly(0.0004)) == "under 0.01 USD"
    assert usd(exactly(0.0)) == "0 USD"


def test_time_takes_the_unit_that_suits_it() -> None:
    units = [duration(exactly(s)).split()[1] for s in (30, 600, 36000, 900000)]
    assert units == ["s", "min", "h", "days"]


def test_nothing_is_certain() -> None:
    assert (sure(0.9999), sure(0.5), sure(0.0001)) == ("over 99%", "50%", "under 1%")


def test_old_prices_say_so() -> None:
    assert "45 days ago" in dated("2026-08-01", TODAY)
    assert dated("2026-09-01", TODAY) == "Prices as of 2026-09-01."
