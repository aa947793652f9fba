"""Sentence ends: punctuation, abbreviations, lists and languages without spaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.rag.sentences import sentences


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Dr. J. Smith paid 3.5 dollars. He left.", ["Dr. J. Smith paid 3.5 dollars.", "He left."]),
        ("Take it, e.g. the key. Go.", ["Take it, e.g. the key.", "Go."]),
        ('She said "go." Then left.', ['She said "go."', "Then left."]),
        ("- one\n- two\n", ["- one", "- two"]),
        ("1. open\n2. close", ["1. open", "2. close"]),
        ("wrapped\nline. Next", ["wrapped\nline.", "Next"]),
        ("para one\n\npara two", ["para one", "para two"]),
        ("今天下雨。我们走吧！好", ["今天下雨。", "我们走吧！", "好"]),
        ("no end", ["no end"]),
        (" \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text(alphabet="ab .!?\n-1。|", max_size=60))
def test_every_character_but_white_space_is_in_one_sentence(text: str) -> None:
    assert "".join("".join(split(text)).split()) == "".join(text.split())


def test_only_the_stretch_asked_for_is_looked_at() -> None:
    text = "One. Two. Three."
    assert [text[a:b] for a, b in sentences(text, 5, 9)] == ["Two."]
