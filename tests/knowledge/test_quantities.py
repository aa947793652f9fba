"""Ranges stay ordered, and a total with an unknown part says so."""

from hypothesis import given
from hypothesis import strategies as st

from knowledge.quantities import Range, around, exactly, total

bounds = st.lists(st.floats(0.1, 1e12), min_size=3, max_size=3).map(sorted)
ranges = bounds.map(lambda b: Range(*b))


@given(ranges, ranges)
def test_arithmetic_keeps_the_order(a: Range, b: Range) -> None:
    for result in (a + b, a.times(b), a.over(b), a.scaled(3.0)):
        assert result.low <= result.mid <= result.high


def test_an_unknown_part_makes_the_total_at_least() -> None:
    summed = total([exactly(2.0), None, around(4.0, 2.0)])
    assert summed.at_least
    assert summed.range == Range(4.0, 6.0, 10.0)
    assert not total([exactly(2.0)]).at_least
