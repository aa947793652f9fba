"""The profile: forgiving with words, strict with keys and values, the same after a round trip."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.facts import DERIVED, facts
from advisor.profile import KEYS, Gpus, Profile, choices, is_number, read, settled, write
from knowledge.errors import UserError


def test_words_for_numbers_and_yes_are_understood() -> None:
    profile = settled(
        {"labelled_examples": "4,112", "train_budget_usd": "1.5k", "citations": "Yes",
         "unlabelled_tokens": "2B", "task": "QA"}
    )  # fmt: skip
    assert profile.labelled_examples == 4112
    assert profile.train_budget_usd == 1500.0
    assert profile.unlabelled_tokens == 2_000_000_000
    assert profile.citations is True
    assert profile.task_type == "qa"


def test_null_is_dont_know_and_is_noted() -> None:
    profile = settled({"gap": None, "task_type": "qa"})
    assert profile.gap is None
    assert profile.origin == {"gap": "unknown", "task_type": "file"}
    assert "gap" not in profile.answers()


@pytest.mark.parametrize("written", [{"gpu": "a100-sxm-80gb", "count": 2}, "2xa100-sxm-80gb"])
def test_hardware_is_a_word_or_a_gpu_and_a_count(written: Any) -> None:
    profile = settled({"hardware": written})
    assert profile.hardware == Gpus("a100-sxm-80gb", 2)
    assert settled({"hardware": "1X24gb"}).hardware == "1x24GB"
    assert 150 < facts(profile)["training_memory_gib"] < 165


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        ({"taks_type": "qa"}, "no profile key 'taks_type'; did you mean 'task_type'"),
        ({"gap": "fact"}, "gap: 'fact' does not fit; allowed: facts, behaviour"),
        ({"labelled_examples": "many"}, "labelled_examples: 'many' does not fit; give a whole"),
        ({"labelled_examples": -1}, "labelled_examples: -1"),
        ({"labelled_examples": 1.5}, "labelled_examples: 1.5"),
        ({"train_budget_usd": float("nan")}, "train_budget_usd"),
        ({"citations": "maybe"}, "citations: 'maybe' does not fit; allowed: yes, no"),
        ({"hardware": "a lot"}, "allowed: none, 1x16GB.* or {gpu: NAME, count: N}"),
        ({"hardware": {"gpu": "a100", "cuont": 2}}, "hardware"),
        ({"target_quality": 90}, "target_quality: 90"),
        ({"task": "qa", "task_type": "qa"}, "given twice"),
        ({1: 2}, "no profile key '1'"),
        ({"origin": {"gap": "guessed"}}, "origin"),
        ([], "a profile is a mapping"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(given_: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        settled(given_)


def test_paths_are_relative_to_the_profile(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "profile.yaml"
    file.write_text("task_type: classify\ndata: data/train.csv\n", encoding="utf-8")
    profile = read(file)
    assert profile.data == str((tmp_path / "data" / "train.csv").resolve())
    write(profile, tmp_path / "again.yaml")
    assert "data: data/train.csv" in (tmp_path / "again.yaml").read_text(encoding="utf-8")
    assert read(tmp_path / "again.yaml") == profile


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"task_type: [", "not valid YAML"),
        (b"- a\n", "a profile is a mapping"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"taks: qa\n", "profile.yaml: no profile key 'taks'"),
    ],
)
def test_a_bad_file_is_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read(file)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="no folder"):
        write(Profile(), tmp_path / "no" / "such" / "folder.yaml")


def profiles() -> st.SearchStrategy[dict[str, Any]]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for key in KEYS:
        if choices(key):
            fields[key] = st.sampled_from(choices(key))
        elif is_number(key) and key != "target_quality":
            fields[key] = st.integers(1, 10**12)
    return st.fixed_dictionaries({}, optional=fields)


@given(profiles())
def test_a_profile_survives_writing_and_reading(answers: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        profile = settled({"name": "x", **answers})
        write(profile, file)
        assert read(file) == profile


def test_facts_follow_from_answers_and_are_absent_where_they_do_not() -> None:
    assert facts(Profile()) == {}
    known = facts(settled({"labelled_examples": 770, "n_classes": 77, "hardware": "8x80GB",
                           "unlabelled_tokens": 10**10}))  # fmt: skip
    assert known["labels_per_class"] == 10
    assert known["training_place"] == "own"
    assert known["training_gpus"] == 8
    assert known["corpus_pass_affordable"] is True
    assert set(known) - set(KEYS) <= set(DERIVED)


@pytest.mark.parametrize(
    ("privacy", "money", "place", "gpus"),
    [
        ("api-ok", 0, "nowhere", 0),
        ("api-ok", 50, "rented", 1),
        ("private-cloud", 5000, "rented", 8),
        ("on-prem", 5000, "nowhere", 0),
        ("on-device", 200_000, "rented", 64),
    ],
)
def test_what_is_not_owned_is_rented_where_the_text_may_go(
    privacy: str, money: float, place: str, gpus: int
) -> None:
    known = facts(settled({"hardware": "none", "privacy": privacy, "train_budget_usd": money}))
    assert (known["training_place"], known["training_gpus"]) == (place, gpus)


def test_whether_one_can_rent_is_unknown_without_the_budget() -> None:
    assert "training_place" not in facts(settled({"hardware": "none", "privacy": "api-ok"}))
