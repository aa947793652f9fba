"""Metrics against sklearn's, intervals against repeated sampling."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from backends.evaluate import (
    classification,
    confusions,
    exact_match,
    mean,
    paired_difference,
    per_class,
    retrieval,
    token_f1,
    token_overlap,
)
from backends.evaluate.answers import squad_words
from backends.evaluate.classes import calibration_error
from knowledge.errors import UserError
from knowledge.statistics import wilson

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcde")), min_size=1)


@settings(deadline=None)
@given(PAIRS)
def test_macro_f1_and_accuracy_are_sklearns(pairs: list[tuple[str, str]]) -> None:
    labels, said = [a for a, _ in pairs], [b for _, b in pairs]
    ours = classification(labels, said)
    expected = f1_score(labels, said, average="macro", zero_division=0)
    assert ours["macro_f1"].value == pytest.approx(expected)
    assert ours["accuracy"].value == pytest.approx(accuracy_score(labels, said))


@settings(deadline=None)
@given(PAIRS)
def test_every_value_lies_in_its_interval_and_between_0_and_1(pairs: list[tuple[str, str]]) -> None:
    for metric in classification([a for a, _ in pairs], [b for _, b in pairs]).values():
        assert metric.low is not None and metric.high is not None
        assert 0 <= metric.low <= metric.high <= 1
        assert metric.n == len(pairs)


def test_accuracy_has_the_wilson_interval() -> None:
    accuracy = classification(["a"] * 8 + ["b"] * 2, ["a"] * 9 + ["b"])["accuracy"]
    assert (accuracy.low, accuracy.high) == wilson(9, 10)


def test_macro_f1_interval_covers_what_new_samples_give() -> None:
    draw = np.random.default_rng(7)

    def sample(size: int) -> tuple[list[str], list[str]]:
        labels = draw.choice(list("abc"), size)
        wrong = draw.random(size) < 0.2
        said = np.where(wrong, draw.choice(list("abc"), size), labels)
        return labels.tolist(), said.tolist()

    truth = classification(*sample(200_000))["macro_f1"].value
    inside = 0
    for _ in range(100):
        metric = classification(*sample(200))["macro_f1"]
        assert metric.low is not None and metric.high is not None
        inside += metric.low <= truth <= metric.high
    assert 88 <= inside <= 100


def test_perfect_and_hopeless_predictions_still_have_an_interval() -> None:
    perfect = classification(["a", "b"] * 10, ["a", "b"] * 10)["macro_f1"]
    assert perfect.value == 1 and perfect.low == pytest.approx(wilson(20, 20)[0])
    hopeless = classification(["a", "b"] * 10, ["b", "a"] * 10)["macro_f1"]
    assert hopeless.value == 0 and hopeless.high == pytest.approx(wilson(0, 20)[1])


def test_no_answer_is_wrong_and_no_class() -> None:
    metrics = classification(["a", "b"], ["a", None])
    assert metrics["accuracy"].value == 0.5
    assert metrics["macro_f1"].value == 0.5
    assert confusions(["a", "b"], ["a", None])[0].predicted is None


def test_calibration_error_by_hand() -> None:
    right = ["a"] * 3 + ["b"]
    assert calibration_error(["a"] * 4, right, [0.75] * 4).value == pytest.approx(0)
    assert calibration_error(["a"] * 4, right, [0.95] * 4).value == pytest.approx(0.20)
    assert classification(["a"], ["a"], [1.0])["ece"].value == pytest.approx(0)


def test_per_class_names_the_worst_first() -> None:
    scores = per_class(["a", "a", "b", "c"], ["a", "b", "b", "a"])
    assert [score.label for score in scores] == ["c", "a", "b"]
    assert scores[0].precision is None and scores[0].recall == 0
    assert scores[2].precision == 0.5 and scores[2].recall == 1


def test_a_paired_difference_is_narrower_than_two_intervals_apart() -> None:
    labels = ["a", "b"] * 200
    one = [*labels[:360], *["x"] * 40]
    other = [*labels[:340], *["x"] * 60]
    difference = paired_difference(labels, one, other)
    assert difference.value == pytest.approx(0.05)
    assert difference.low is not None and difference.high is not None
    assert 0 < difference.low < 0.05 < difference.high
    assert paired_difference(labels, other, one).value == pytest.approx(-0.05)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = [0.1, 0.5, 0.9, 0.3, 0.77, 0.613, 0.04, 0.222, 0.51]
    assert mean(scores, seed=1) == mean(scores, seed=1) != mean(scores, seed=2)


def test_mean_interval_is_near_the_normal_one() -> None:
    scores = np.random.default_rng(3).random(400).tolist()
    metric = mean(scores)
    half = 1.96 * float(np.std(scores)) / 20
    assert metric.low == pytest.approx(metric.value - half, abs=0.005)
    assert metric.high == pytest.approx(metric.value + half, abs=0.005)


def test_retrieval_by_hand() -> None:
    metrics = retrieval([1, 2, 5, 10, 11, None])
    values = {name: metric.value for name, metric in metrics.items()}
    assert values["recall@1"] == pytest.approx(1 / 6)
    assert values["recall@5"] == pytest.approx(3 / 6)
    assert values["recall@10"] == pytest.approx(4 / 6)
    assert values["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 10 + 1 / 11) / 6)
    with pytest.raises(ValueError, match="from 1"):
        retrieval([0])


def test_answers_are_compared_as_squad_does() -> None:
    assert squad_words("The  Eiffel Tower!") == ["eiffel", "tower"]
    assert exact_match(["the Tower.", None, "x"], [["tower"], ["y"], ["y", "X"]]).value == 2 / 3
    assert token_overlap("in the year 1972", ["1972", "December 1972"]) == pytest.approx(0.5)
    assert token_overlap("the", ["a"]) == 1 and token_overlap("the", ["b"]) == 0
    assert token_f1(["a b c", None], [["b c"], ["q"]]).value == pytest.approx(0.5)


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), min_size=1))
def test_token_overlap_is_a_share_and_full_for_a_copy(answer: str, accepted: list[str]) -> None:
    assert 0 <= token_overlap(answer, accepted) <= 1
    assert token_overlap(answer, [answer, *accepted]) == 1


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(UserError, match="no example"):
        classification([], [])
    with pytest.raises(UserError, match="no question"):
        retrieval([])
    with pytest.raises(ValueError, match="2 labels and 1 predictions"):
        classification(["a", "b"], ["a"])


def test_ten_thousand_classes_are_scored_in_seconds() -> None:
    labels = [f"c{n}" for n in range(10_000)]
    said = [f"c{n if n % 4 else n + 1}" for n in range(10_000)]
    begun = time.perf_counter()
    found = classification(labels, said)
    assert found["accuracy"].value == 0.75
    assert found["macro_f1"].value == pytest.approx(
        f1_score(labels, said, average="macro", zero_division=0)
    )
    assert time.perf_counter() - begun < 60
