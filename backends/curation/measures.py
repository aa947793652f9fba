"""What quality filters measure of documents, a batch at a time; one function a measure.

Shapes: every measure is (texts,) float64, in the order of the batch.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from backends.curation.hashing import BASE, Words, mixed, runs_of, words_of
from knowledge.filters import Filter

Measures = NDArray[np.float64]
BULLETS = ("-", "*", "•", "‣", "●", "◦", "▪", "–")
ELLIPSES = ("...", "…")
STOPS = (".", "!", "?", "…", '"', "”", "'", "’", "。", "！", "？", ":", ";")
SENTENCE_ENDS = ".!?。！？"
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
SHORT_LINE = 30  # characters


class Batch:
    """Texts measured together; words are hashed once for all measures."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.words = [text.split() for text in texts]
        self.lines = [[line for line in text.split("\n") if line.strip()] for text in texts]

    @cached_property
    def hashed(self) -> Words:
        """The hashed words of all texts."""
        return words_of(self.texts)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Hashed words of each text."""
        return np.bincount(self.hashed.texts, minlength=len(self.texts))


def measured(batch: Batch, row: Filter) -> Measures:
    """A filter's measure of each text."""
    if row.size is not None:
        return RUN_MEASURES[row.measure](batch, row.size)
    measure = MEASURES[row.measure]
    return np.array([measure(batch, number) for number in range(len(batch.texts))], np.float64)


def _share(count: float, of: float) -> float:
    return count / of if of else 0.0


def _words(batch: Batch, number: int) -> float:
    return len(batch.words[number])


def _mean_word_length(batch: Batch, number: int) -> float:
    words = batch.words[number]
    return _share(sum(map(len, words)), len(words))


def _hashes_per_word(batch: Batch, number: int) -> float:
    return _share(batch.texts[number].count("#"), len(batch.words[number]))


def _ellipses_per_word(batch: Batch, number: int) -> float:
    found = sum(batch.texts[number].count(sign) for sign in ELLIPSES)
    return _share(found, len(batch.words[number]))


def _bullet_lines(batch: Batch, number: int) -> float:
    lines = batch.lines[number]
    return _share(sum(line.lstrip().startswith(BULLETS) for line in lines), len(lines))


def _ellipsis_lines(batch: Batch, number: int) -> float:
    lines = batch.lines[number]
    return _share(sum(line.rstrip().endswith(ELLIPSES) for line in lines), len(lines))


def _words_with_letter(batch: Batch, number: int) -> float:
    words = batch.words[number]
    return _share(sum(word.isalpha() or any(map(str.isalpha, word)) for word in words), len(words))


def _english_stop_words(batch: Batch, number: int) -> float:
    return len(STOP_WORDS.intersection(map(str.lower, batch.words[number])))


def _lines_twice(batch: Batch, number: int) -> float:
    return _twice(batch.lines[number])[0]


def _line_characters_twice(batch: Batch, number: int) -> float:
    return _twice(batch.lines[number])[1]


def _paragraphs_twice(batch: Batch, number: int) -> float:
    return _twice(_paragraphs(batch.texts[number]))[0]


def _paragraph_characters_twice(batch: Batch, number: int) -> float:
    return _twice(_paragraphs(batch.texts[number]))[1]


def _paragraphs(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part.strip()]


def _twice(parts: list[str]) -> tuple[float, float]:
    """The share of parts, and of their characters, that repeat an earlier part."""
    seen: set[str] = set()
    count = characters = 0
    for part in map(str.strip, parts):
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return _share(count, len(parts)), _share(characters, sum(len(part.strip()) for part in parts))


def _braces(batch: Batch, number: int) -> float:
    return batch.texts[number].count("{") + batch.texts[number].count("}")


def _lorem_ipsum(batch: Batch, number: int) -> float:
    return batch.texts[number].lower().count("lorem ipsum")


def _sentences(batch: Batch, number: int) -> float:
    """Words that end with a full stop or its like."""
    words = batch.words[number]
    return sum(word.rstrip("\"'”’)»]").endswith(tuple(SENTENCE_ENDS)) for word in words)


def _lines_with_stop(batch: Batch, number: int) -> float:
    lines = batch.lines[number]
    return _share(sum(line.rstrip().endswith(STOPS) for line in lines), len(lines))


def _short_lines(batch: Batch, number: int) -> float:
    lines = batch.lines[number]
    return _share(sum(len(line.strip()) < SHORT_LINE for line in lines), len(lines))


def _top_run(batch: Batch, size: int) -> Measures:
    """Share of words in the most frequent run of so many words; 0 where none comes twice.

    Words stand for characters: the words of a run are about as long as others.
    """
    _, texts, order, first = _grouped(batch, size)
    often = np.diff(first, append=len(order))
    most = np.zeros(len(batch.texts), np.int64)
    np.maximum.at(most, texts[order[first]], np.where(often > 1, often, 0))
    return most * size / np.maximum(batch.counts, 1)


def _runs_twice(batch: Batch, size: int) -> Measures:
    """Share of words in runs of so many words that came before, each word counted once."""
    where, _, order, first = _grouped(batch, size)
    again = np.ones(len(where), np.bool_)
    if len(first):
        again[np.minimum.reduceat(order, first)] = False
    change = np.zeros(len(batch.hashed.hashes) + 1, np.int64)
    change[where[again]] += 1
    change[where[again] + size] -= 1
    covered = np.cumsum(change)[:-1] > 0
    shares = np.bincount(batch.hashed.texts, weights=covered, minlength=len(batch.texts))
    return shares / np.maximum(batch.counts, 1)


def _grouped(
    batch: Batch, size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Runs of words in groups of equal ones inside a text.

    Shapes: first word and text of each run (runs,), an order that brings equal ones together
    (runs,), and where in that order each group begins (groups,).
    """
    runs = runs_of(batch.hashed, size, short=False)
    keys = mixed(runs.hashes + runs.texts.astype(np.uint64) * np.uint64(BASE))
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
    return _positions(batch.hashed, size), runs.texts, order, first


def _positions(words: Words, size: int) -> NDArray[np.int64]:
    """The word at which each run begins, as `runs_of` orders them."""
    count = max(len(words.hashes) - size + 1, 0)
    return np.flatnonzero(words.texts[:count] == words.texts[size - 1 :][:count])


MEASURES: dict[str, Callable[[Batch, int], float]] = {
    "words": _words,
    "mean_word_length": _mean_word_length,
    "hashes_per_word": _hashes_per_word,
    "ellipses_per_word": _ellipses_per_word,
    "bullet_lines": _bullet_lines,
    "ellipsis_lines": _ellipsis_lines,
    "words_with_letter": _words_with_letter,
    "english_stop_words": _english_stop_words,
    "lines_twice": _lines_twice,
    "line_characters_twice": _line_characters_twice,
    "paragraphs_twice": _paragraphs_twice,
    "paragraph_characters_twice": _paragraph_characters_twice,
    "braces": _braces,
    "lorem_ipsum": _lorem_ipsum,
    "sentences": _sentences,
    "lines_with_stop": _lines_with_stop,
    "short_lines": _short_lines,
}
RUN_MEASURES: dict[str, Callable[[Batch, int], Measures]] = {
    "top_run": _top_run,
    "runs_twice": _runs_twice,
}
