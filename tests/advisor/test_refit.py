"""The refit of training speed: it finds what made the rows, and shipped constants are its own."""

import pytest

from advisor.estimates.efficiency import Coefficients, Traits, coefficients
from advisor.validate import heldout, refit

TRUTH = Coefficients(0.8, 800.0, 0.4, 2.0, 0.8, 0.8)


def made(number: int, by: Coefficients) -> refit.Point:
    """A row that the coefficients explain without an error."""
    traits = Traits(
        width=256.0 * 2 ** (number % 6),
        attention=(0.02, 0.1, 0.3)[number % 3],
        intensity=(60.0, 156.0, 300.0, 420.0)[number % 4],
        tokens=None if number % 2 else 4096.0,
        cards=float(8 ** (number % 4)),
        years=float(number % 5 == 0),
        factor=1.0,
    )
    bare = refit.Point(f"org-{number % 7}", traits, 500.0 * (number + 1), 1.0, number % 2 == 0)
    return bare._replace(hours=refit.hours(bare, by))


def test_a_fit_finds_the_coefficients_that_made_the_rows() -> None:
    rows = [made(number, TRUTH) for number in range(120)]
    assert refit.fitted(rows) == pytest.approx(TRUTH, rel=0.03)


def test_a_few_wild_rows_hardly_move_the_fit() -> None:
    rows = [made(number, TRUTH) for number in range(120)]
    wild = [row._replace(hours=5 * row.hours) for row in rows[:5]]
    assert refit.fitted([*wild, *rows[5:]]) == pytest.approx(TRUTH, rel=0.1)


def test_shipped_constants_are_the_fit_to_the_packaged_rows() -> None:
    assert coefficients() == pytest.approx(refit.fitted(heldout.packaged()), rel=0.02)


def test_an_organisation_is_left_out_with_its_speeds_too() -> None:
    names = {point.organisation for point in heldout.packaged()}
    assert {"meta", "mosaicml", "pytorch"} <= names
    assert heldout.without("mosaicml") != heldout.without("nobody")
    assert heldout.without("nobody") == pytest.approx(refit.fitted(heldout.packaged()))
