"""The conversation, scripted: what is asked, what is not, and what is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advisor.profile import KEYS, Profile, choices, is_number, value_of
from advisor.questionnaire import (
    QUESTIONS,
    Stopped,
    answer,
    answered,
    ask,
    next_question,
    open_questions,
    question,
)
from advisor.recommendation import first_place
from knowledge.errors import UserError

START = Profile().having("detected", hardware="none")


class Script:
    """A person who answers by key (what is shown first decides), and remembers what was said."""

    def __init__(self, replies: dict[str, list[str]], otherwise: str = "") -> None:
        self.replies = {key: list(texts) for key, texts in replies.items()}
        self.otherwise = otherwise
        self.asked: list[str] = []
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def read(self, prompt: str) -> str:
        key = next((k for k, q in QUESTIONS.items() if q.text in prompt), "contradiction")
        self.asked.append(key)
        queue = self.replies.get(key, [])
        reply = queue.pop(0) if queue else self.otherwise
        if reply == "EOF":
            raise EOFError
        if reply == "^C":
            raise KeyboardInterrupt
        return reply


@pytest.fixture
def train(tmp_path: Path) -> Path:
    file = tmp_path / "train.csv"
    rows = [f"message number {i} about thing {i % 4},label{i % 4}" for i in range(600)]
    file.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.md").write_text(f"# Page {i}\n\n" + "A fact. " * 500, encoding="utf-8")
    return folder


def test_every_question_is_complete_and_allowed_by_the_profile() -> None:
    assert set(QUESTIONS) <= set(KEYS)
    for key, row in QUESTIONS.items():
        assert row.text.endswith("?"), key
        assert row.why.endswith("."), key
        if row.choices:
            assert {value for value, _ in row.choices} == set(choices(key)), key
        else:
            assert is_number(key), key
            assert row.examples, key
        if row.default is not None:
            assert value_of(key, row.default) == row.default


def test_the_first_questions_are_the_task_and_the_gap() -> None:
    first = next_question(START)
    assert first is not None
    assert first.key == "task_type"
    second = next_question(answer(START, "task_type", "a label"))
    assert second is not None
    assert second.key == "gap"


def test_enter_takes_defaults_and_the_end_is_a_recommendation() -> None:
    io = Script({})
    profile = ask(START, io)
    assert profile.task_type == "assistant"
    assert profile.origin["task_type"] == "default"
    assert profile.origin["hardware"] == "detected"
    assert "hardware" not in io.asked
    assert len(io.asked) <= 16
    assert next_question(profile) is None
    assert first_place(profile)[0] is not None


def test_dont_know_to_everything_still_ends() -> None:
    io = Script({}, otherwise="u")
    profile = ask(START, io)
    assert profile.answers() == {"hardware": "none"}
    assert set(profile.origin.values()) == {"detected", "unknown"}
    assert len(set(io.asked)) == len(io.asked)


def test_why_is_told_and_the_question_comes_again() -> None:
    io = Script({"task_type": ["?", "qa"]})
    profile = ask(START, io)
    assert profile.task_type == "qa"
    assert io.asked[:2] == ["task_type", "task_type"]
    assert any(QUESTIONS["task_type"].why in text for text in io.said)


def test_back_returns_to_the_question_before() -> None:
    io = Script({"task_type": ["1", "3"], "gap": ["b", "facts"]})
    profile = ask(START, io)
    assert io.asked[:4] == ["task_type", "gap", "task_type", "gap"]
    assert (profile.task_type, profile.gap) == ("qa", "facts")


def test_back_at_the_start_is_said() -> None:
    io = Script({"task_type": ["b", "qa"]})
    ask(START, io)
    assert "This is the first question." in io.said


def test_a_wrong_answer_is_explained_and_asked_again() -> None:
    io = Script({"task_type": ["poetry", "generate"]})
    profile = ask(START, io)
    assert profile.task_type == "generate"
    assert any("'poetry' does not fit" in text for text in io.said)


def test_what_files_tell_is_not_asked(train: Path, corpus: Path) -> None:
    io = Script(
        {"task_type": ["classify"], "gap": ["behaviour"], "labelled_examples": [str(train)]}
    )
    profile = ask(START, io)
    assert profile.data == str(train)
    assert (profile.labelled_examples, profile.n_classes) == (600, 4)
    assert profile.origin["labelled_examples"] == profile.origin["n_classes"] == "counted"
    assert "n_classes" not in io.asked
    with_docs = answer(START, "corpus", str(corpus))
    assert with_docs.unlabelled_tokens == pytest.approx(5000, rel=0.1)
    assert "unlabelled_tokens" not in {row.key for row in open_questions(with_docs)}


def test_a_contradiction_is_asked_about_once(train: Path) -> None:
    given = answer(answer(START, "labelled_examples", "0"), "data", str(train))
    io = Script({"contradiction": ["yes"]})
    profile = ask(given, io)
    assert io.asked.count("contradiction") == 1
    assert profile.labelled_examples == 600
    kept = ask(given, Script({"contradiction": ["no"]}))
    assert kept.labelled_examples == 0


def test_more_examples_to_come_are_no_contradiction(train: Path) -> None:
    given = answer(answer(START, "data", str(train)), "labelled_examples", 5000)
    io = Script({})
    assert ask(given, io).labelled_examples == 5000
    assert "contradiction" not in io.asked


def test_without_a_person_the_file_is_right(train: Path) -> None:
    profile = answered(START, {"labelled_examples": 0, "data": str(train)})
    assert profile.labelled_examples == 600
    assert profile.origin["labelled_examples"] == "counted"


@pytest.mark.parametrize("stop", ["EOF", "^C"])
def test_an_interrupted_conversation_keeps_what_was_said(stop: str) -> None:
    with pytest.raises(Stopped) as stopped:
        ask(START, Script({"task_type": ["qa"], "gap": [stop]}))
    assert stopped.value.profile.task_type == "qa"
    io = Script({})
    ask(stopped.value.profile, io)
    assert "task_type" not in io.asked


def typed(replies: dict[str, str]) -> tuple[Profile, list[str]]:
    io = Script({key: [text] for key, text in replies.items()}, otherwise="u")
    return ask(START, io), io.asked


def test_typing_answers_and_set_give_the_same_profile(train: Path) -> None:
    replies = {"task_type": "classify", "gap": "behaviour", "labelled_examples": str(train),
               "privacy": "3", "tried": "nothing"}  # fmt: skip
    by_hand, asked = typed(replies)
    values: dict[str, Any] = {"task_type": "classify", "gap": "behaviour", "data": str(train),
                              "privacy": "on-prem", "tried": "nothing"}  # fmt: skip
    known = {key: value for key, value in values.items() if key == "data" or key in asked}
    unknown = {key: None for key in asked if key not in replies}
    by_file = answered(START, {**known, **unknown})
    by_flag = answered(
        START, {key: str(value) for key, value in known.items()} | dict.fromkeys(unknown, "u")
    )
    assert by_file == by_flag == by_hand


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("labelled_examples", "lots", "no file or folder 'lots'; give a number"),
        ("labelled_examples", "-3", "no file or folder '-3'"),
        ("labelled_exmaples", "3", "did you mean 'labelled_examples'"),
        ("gap", "99", "gap: '99' does not fit"),
        ("data", "none.csv", "data: no file or folder 'none.csv'"),
        ("citations", "perhaps", "allowed: yes, no"),
    ],
)
def test_bad_answers_are_user_errors(key: str, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        answer(START, key, text)


def test_a_file_without_examples_is_no_count_of_examples(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text("text\nonly words\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"plain\.csv holds nothing to count"):
        answer(START, "labelled_examples", str(tmp_path / "plain.csv"))


def test_a_file_that_changed_is_counted_again(train: Path) -> None:
    import os

    profile = answer(START, "data", str(train))
    train.write_text("text,label\none,a\ntwo,b\n", encoding="utf-8")
    os.utime(train, (1, 1))
    assert answer(profile, "labelled_examples", str(train)).labelled_examples == 2


def test_unknown_questions_are_refused() -> None:
    with pytest.raises(UserError, match="no question 'gpa'; did you mean 'gap'"):
        question("gpa")


def conversations() -> Iterator[Any]:
    yield {"task_type": "qa", "gap": "facts", "unlabelled_tokens": "20M", "citations": "yes"}, "rag"
    yield {"task_type": "classify", "gap": "behaviour", "labelled_examples": "5000",
           "n_classes": "8"}, "head-ft"  # fmt: skip
    yield {"task_type": "translate", "gap": "cost-latency", "labelled_examples": "20k",
           "tried": "prompt-works-too-costly", "expertise": "ml"}, "lora"  # fmt: skip


@pytest.mark.parametrize(("replies", "primary"), list(conversations()))
def test_short_conversations_reach_the_right_approach(
    replies: dict[str, str], primary: str
) -> None:
    profile, asked = typed(replies)
    way, _ = first_place(profile)
    assert way is not None
    assert way.stack[0] == primary
    assert len(asked) <= 14
