"""The label that an answer means."""

import re
from collections.abc import Sequence

from backends.data import normalised

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)


def without_thought(answer: str) -> str:
    """An answer without the reasoning that some models write before it."""
    return _THOUGHT.sub("", answer).strip()


def label_said(answer: str, labels: Sequence[str]) -> str | None:
    """The label that an answer gives; None where it gives none, or several.

    Case, punctuation and underscores do not count; a sentence around the one label is forgiven.
    """
    said = without_thought(answer)
    if said in labels:
        return said
    plain = _words(said)
    by_words = {_words(label): label for label in labels}
    if plain in by_words:
        return by_words[plain]
    inside = [words for words in by_words if f" {words} " in f" {plain} "]
    longest = [words for words in inside if not any(_within(words, other) for other in inside)]
    return by_words[longest[0]] if len(longest) == 1 else None


def _within(words: str, other: str) -> bool:
    return words != other and f" {words} " in f" {other} "


def _words(text: str) -> str:
    return normalised(text.replace("_", " "))
