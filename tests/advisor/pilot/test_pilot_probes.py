"""Probes: what trials say together."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.pilot import Tried, probes
from advisor.profile import Profile
from backends.base import Metric


def point(rows: int, value: float, spread: float = 0.001) -> Tried:
    """A trial on so many rows."""
    found = {"accuracy": Metric(value, value - spread, value + spread)}
    return Tried("t", "t", ("t",), None, "f", 1.0, found, "accuracy", rows)


@given(scale=st.floats(0.2, 5), rate=st.floats(0.05, 0.9))
def test_a_power_law_is_found_again(scale: float, rate: float) -> None:
    rows = [100, 200, 400, 800]
    found = probes.fitted(rows, [scale * math.pow(n, -rate) for n in rows])
    assert found.rate == pytest.approx(rate, rel=1e-2, abs=1e-3)


def test_errors_that_rise_are_no_promise() -> None:
    assert probes.fitted([100, 200, 400], [0.1, 0.2, 0.3]).rate == 0


def test_a_falling_error_says_that_more_would_help() -> None:
    points = [point(n, 1 - 2 * n**-0.5) for n in (100, 200, 400)]
    found = probes.learning_curve(points)
    assert found is not None
    at = found.figures["at_twice"]
    assert at["mid"] == pytest.approx(1 - 2 * 800**-0.5, abs=1e-3)
    assert at["low"] <= at["mid"] <= at["high"]
    assert "would help" in found.says


def test_a_flat_or_noisy_curve_does_not_promise_and_two_points_say_nothing() -> None:
    flat = probes.learning_curve([point(n, 0.9, 0.05) for n in (100, 200, 400)])
    assert flat is not None
    assert "may or may not help" in flat.says
    assert probes.learning_curve([point(100, 0.8), point(200, 0.9)]) is None


def test_foreign_words_take_more_tokens_than_everyday_ones(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text(
        "text,label\n" + "".join(
            f"acetylsalicylhydroxamate ethylenediaminetetraacetic {n},a\nplain words {n},b\n"
            for n in range(40)
        ),
        encoding="utf-8",
    )  # fmt: skip
    found = probes.vocabulary(Profile(data=str(file)), None)
    assert found is not None
    assert found.figures["ratio"] > 1.5
    assert probes.vocabulary(Profile(), None) is None


def test_the_retrieval_probe_says_how_often_the_passage_is_found() -> None:
    metrics = {"recall@10": Metric(0.8, 0.7, 0.9, 40), "bm25_recall@10": Metric(0.6)}
    found = probes.retrieval([point(0, 0.5), Tried("r", "r", ("rag",), None, "f", 1.0, metrics)])
    assert found is not None
    assert found.figures == {"recall@10": 0.8, "bm25_recall@10": 0.6}
    assert "0.80 (0.70 to 0.90) of 40 questions" in found.says
    assert probes.retrieval([point(0, 0.5)]) is None
