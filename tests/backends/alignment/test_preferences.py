"""Preferences in every form as weighted pairs, and the checks over them."""

from pathlib import Path
from typing import Any

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from backends.alignment import checks, preferences
from backends.alignment.preferences import Pair
from backends.base import Data
from backends.data import rankings


def pairs(path: Path, rows: list[dict[str, Any]]) -> tuple[Pair, ...]:
    file = toys.jsonl(path / "rows.jsonl", rows)
    return preferences.paired(preferences.read(Data(train=file), file, [], "refuse"))


def shown(some: tuple[Pair, ...]) -> list[tuple[str, str, bool]]:
    return [(*pair.texts, pair.tie) for pair in some]


def test_a_ranking_with_ties_is_every_pair_of_its_answers(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "responses": ["a", "b", "c", "d"], "ranking": "C>B=D>A"},
        {"prompt": "q", "responses": ["x", "y"], "ranking": [2, 1]},
    ]
    found = pairs(tmp_path, rows)
    assert set(shown(found[:6])) == {
        ("b", "a", False), ("c", "a", False), ("d", "a", False),
        ("c", "b", False), ("b", "d", True), ("c", "d", False),
    }  # fmt: skip
    assert [pair.weight for pair in found] == pytest.approx([1 / 6] * 6 + [1.0])


def test_a_tie_is_half_a_pair_each_way_or_none(tmp_path: Path) -> None:
    found = pairs(tmp_path, [{"prompt": "p", "responses": ["a", "b", "c"], "ranking": "A=B>C"}])
    both = preferences.directed(found, "both")
    assert sum(pair.weight for pair in both) == pytest.approx(1.0)
    ties = [pair for pair in both if pair.tie]
    assert {pair.texts for pair in ties} == {("a", "b"), ("b", "a")}
    assert all(pair.weight == pytest.approx(1 / 6) for pair in ties)
    assert not any(pair.tie for pair in preferences.directed(found, "drop"))


def test_ratings_and_thumbs_compare_answers_to_the_same_prompt(tmp_path: Path) -> None:
    rated = [{"prompt": "p", "completion": c, "rating": n} for c, n in (("a", 5), ("b", 3.5))]
    assert shown(pairs(tmp_path, rated)) == [("a", "b", False)]
    thumbs = [
        {"prompt": "p", "completion": "a", "label": False},
        {"prompt": "p", "completion": "b", "label": True},
        {"prompt": "p", "completion": "c", "label": True},
    ]
    assert shown(pairs(tmp_path, thumbs)) == [
        ("b", "a", False), ("c", "a", False), ("b", "c", True)
    ]  # fmt: skip


def test_people_are_not_compared_with_each_other_on_one_scale(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": c, "rating": n, "annotator": who}
        for c, n, who in (("a", 1, "ann"), ("b", 2, "ann"), ("a", 9, "ben"), ("b", 8, "ben"))
    ]
    assert shown(pairs(tmp_path, rows)) == [("b", "a", False), ("a", "b", False)]


def made(prompt: str, chosen: str, rejected: str, line: int, who: str | None = None) -> Pair:
    from backends.data.rows import Message

    sides = (Message("assistant", chosen),), (Message("assistant", rejected),)
    return Pair((Message("user", prompt),), *sides, 1.0, False, line, who)


def test_what_is_wrong_with_pairs_is_found() -> None:
    found = checks.checked(
        [
            made("p", "a", "b", 1), made("p", "a", "b", 2), made("p", "b", "a", 3),
            *(made(f"q{n}", "longer answer", "short", 4 + n) for n in range(30)),
        ]
    )  # fmt: skip
    assert found.duplicates == 1 and set(found.contradictions) == {(1, 3), (2, 3)}
    assert found.longer is not None and found.longer[0] == 1.0
    said = " ".join(checks.notes(found))
    assert "the longer answer is preferred in 100% of pairs" in said
    assert "1 pairs repeat an earlier one" in said and "(lines 1 and 3, ...)" in said
    assert found.kappa is None


def test_agreement_is_what_is_beyond_chance() -> None:
    same = [made(f"p{n}", "a", "b", n, who) for n in range(20) for who in ("ann", "ben")]
    assert checks.checked(same).agreement == 1.0 and checks.checked(same).kappa == 1.0
    half = [
        made(f"p{n}", *(("a", "b") if who == "ann" or n % 2 else ("b", "a")), n, who)
        for n in range(20) for who in ("ann", "ben")
    ]  # fmt: skip
    found = checks.checked(half)
    assert found.agreement == 0.5 and found.kappa == pytest.approx(0.0)
    assert any("mostly noise" in note for note in checks.notes(found))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=8))
def test_an_order_reads_back_as_its_ranks(ranks: list[int]) -> None:
    dense = [sorted(set(ranks)).index(rank) + 1 for rank in ranks]
    assert list(rankings.places(rankings.order(ranks), len(ranks))) == dense
