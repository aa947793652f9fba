import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import evaluate

SPANS = st.lists(st.tuples(st.integers(0, 3), st.integers(4, 6), st.sampled_from("xy")), max_size=4)


def test_a_span_counts_where_bounds_and_label_are_right() -> None:
    wanted = [[(0, 3, "x"), (5, 7, "y")], [(0, 2, "x")], []]
    said = [[(0, 3, "x"), (5, 8, "y")], [(0, 2, "y")], []]
    found = evaluate.found_spans(wanted, said)
    assert found["span_f1"].value == pytest.approx(1 / 3)
    assert found["span_precision"].value == found["span_recall"].value == pytest.approx(1 / 3)
    worst, best = evaluate.per_label(wanted, said)
    assert (worst.label, worst.f1, worst.support) == ("y", 0.0, 1)
    assert (best.label, best.recall) == ("x", 0.5)


@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=8))
def test_f1_is_that_of_the_sums_and_lies_in_its_interval(pairs: list[tuple[list, list]]) -> None:  # type: ignore[type-arg]
    wanted, said = [a for a, _ in pairs], [b for _, b in pairs]
    found = evaluate.found_spans(wanted, said)["span_f1"]
    right = sum(len(set(a) & set(b)) for a, b in pairs)
    size = sum(len(set(a)) + len(set(b)) for a, b in pairs)
    assert found.value == pytest.approx(2 * right / size if size else 1.0)
    assert found.low is not None and found.high is not None and 0 <= found.low <= found.high <= 1
    assert evaluate.paired_f1(wanted, said, said).value == 0
    assert evaluate.paired_f1(wanted, wanted, said).value == pytest.approx(1 - found.value)
