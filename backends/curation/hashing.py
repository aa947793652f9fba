"""Runs of words as numbers: many texts at once, whole batches in each numpy call.

A word is a run of letters, digits and underscores in lower case, as `\\w+` finds it; a character
of a script written without spaces (U+3000 and above) is a word of its own. Words are hashed by
differences of one running sum over the bytes, so that no word is ever cut out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
BATCH = 2**20  # bytes of text hashed at once; the tables of powers are as long
BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
STEP = 0xC2B2AE3D27D4EB4F
UNSPACED = 0xE3  # lead byte from which a character stands for a word


class Words(NamedTuple):
    """The words of a batch of texts.

    Shapes: `hashes` and `texts` (words,), the latter the number of the text each is in, ascending.
    """

    hashes: Numbers
    texts: NDArray[np.int64]


def words_of(texts: Sequence[str]) -> Words:
    """The hashed words of texts, in order."""
    found = [_words(content, first) for content, first in _pieces(texts)]
    if not found:
        return Words(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    return Words(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def runs_of(words: Words, length: int, *, short: bool = True) -> Words:
    """Every run of `length` words that follow one another inside a text, hashed, in order.

    Args:
        short: a text of fewer words gives one run, of all its words.
    """
    hashes, texts = words
    count = len(hashes) - length + 1
    inside = texts[: max(count, 0)] == texts[length - 1 :]
    if length > 1:
        runs = np.zeros(max(count, 0), np.uint64)
        for place in range(length):
            runs += hashes[place : place + len(runs)] * _power(STEP, place)
        runs, of = mixed(runs[inside]), texts[: len(runs)][inside]
    else:
        runs, of = mixed(hashes), texts
    if not short or len(runs) == len(hashes):
        return Words(runs, of)
    return _with_short(words, length, runs, of)


def mixed(values: Numbers) -> Numbers:
    """The output function of splitmix64. Source: https://doi.org/10.1145/2660193.2660195."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _power(base: int, exponent: int) -> np.uint64:
    return np.uint64(pow(base, exponent, 2**64))


def _with_short(words: Words, length: int, runs: Numbers, of: NDArray[np.int64]) -> Words:
    first = np.flatnonzero(np.diff(words.texts, prepend=-1))
    sizes = np.diff(first, append=len(words.texts))
    first, sizes = first[sizes < length], sizes[sizes < length]
    whole = np.zeros(len(first), np.uint64)
    for place in range(length - 1):
        there = place < sizes
        whole[there] += words.hashes[first[there] + place] * _power(STEP, place)
    texts = np.concatenate([of, words.texts[first]])
    order = np.argsort(texts, kind="stable")
    return Words(np.concatenate([runs, mixed(whole)])[order], texts[order])


def _pieces(texts: Sequence[str]) -> list[tuple[list[bytes], int]]:
    """Texts in batches of bytes with the number of the first; a longer one is cut at a space."""
    batches: list[tuple[list[bytes], int]] = []
    batch: list[bytes] = []
    held = 0
    for number, text in enumerate(texts):
        content = text.lower().encode("utf-8", "surrogatepass")
        while len(content) > BATCH:
            cut = max(content.rfind(b" ", 1, BATCH), content.rfind(b"\n", 1, BATCH))
            cut = BATCH // 2 if cut < 1 else cut
            if batch:
                batches.append((batch, number - len(batch)))
                batch, held = [], 0
            batches.append(([content[:cut]], number))
            content = content[cut:]
        if held + len(content) + 1 > BATCH and batch:
            batches.append((batch, number - len(batch)))
            batch, held = [], 0
        batch.append(content)
        held += len(content) + 1
    if batch:
        batches.append((batch, len(texts) - len(batch)))
    return batches


def _classes() -> NDArray[np.bool_]:
    """Whether a byte is of a word: ASCII letters, digits, underscore, all of other scripts."""
    word = np.zeros(256, np.bool_)
    word[0x80:] = True
    for code in range(0x80):
        word[code] = chr(code).isalnum() or chr(code) == "_"
    return word


def _powers() -> tuple[Numbers, Numbers]:
    """The powers of the base and of its inverse."""
    inverse = pow(BASE, -1, 2**64)
    columns = []
    for base in (BASE, inverse):
        column = np.full(BATCH + 2, base, np.uint64)
        column[0] = 1
        columns.append(np.multiply.accumulate(column))
    return columns[0], columns[1]


_WORD = _classes()
_POWERS, _INVERSES = _powers()


def _words(contents: list[bytes], first: int) -> Words:
    joined = np.frombuffer(b"\n".join(contents), dtype=np.uint8)
    if not len(joined):
        return Words(np.zeros(0, np.uint64), np.zeros(0, np.int64))
    word = _WORD[joined]
    if (joined >= 0x80).any():
        _exclude_marks(joined, word)
    begins, ends = np.zeros((2, len(word) + 1), np.bool_)
    begins[0], ends[-1] = word[0], word[-1]
    np.logical_and(word[1:], ~word[:-1], out=begins[1:-1])
    np.logical_and(~word[1:], word[:-1], out=ends[1:-1])
    if (joined >= UNSPACED).any():
        _split_unspaced(joined, word, begins, ends)
    starts, stops = np.flatnonzero(begins), np.flatnonzero(ends)
    sums = np.zeros(len(joined) + 1, np.uint64)
    np.cumsum(joined * _POWERS[1 : len(joined) + 1], out=sums[1:])
    hashes = (sums[stops] - sums[starts]) * _INVERSES[starts]
    sizes = np.fromiter((len(content) + 1 for content in contents), np.int64, len(contents))
    text = np.searchsorted(np.cumsum(sizes), starts, side="right") + first
    return Words(mixed(hashes), text)


def _exclude_marks(joined: NDArray[np.uint8], word: NDArray[np.bool_]) -> None:
    """Bytes of punctuation and symbols beyond ASCII are of no word: U+0080 to U+00BF but the three
    letters there, the two signs in Latin-1's letters, U+2000 to U+2BFF, U+3000 to U+303F, U+1F000
    to U+1FFFF.
    """
    after = np.append(joined[1:], np.uint8(0))
    latin = (joined == 0xC2) & ~np.isin(after, (0xAA, 0xB5, 0xBA))
    latin |= (joined == 0xC3) & np.isin(after, (0x97, 0xB7))
    wide = (joined == 0xE2) & (after < 0xB0) | (joined == 0xE3) & (after == 0x80)
    picture = (joined == 0xF0) & (after == 0x9F)
    for lead, length in ((latin, 2), (wide, 3), (picture, 4)):
        at = np.flatnonzero(lead)
        for offset in range(length):
            word[np.minimum(at + offset, len(word) - 1)] = False


def _split_unspaced(
    joined: NDArray[np.uint8],
    word: NDArray[np.bool_],
    begins: NDArray[np.bool_],
    ends: NDArray[np.bool_],
) -> None:
    """Mark each character of a script without spaces as a word of its own."""
    lead = np.flatnonzero((joined >= UNSPACED) & word)
    length = np.where(joined[lead] >= 0xF0, 4, 3)
    stop = np.minimum(lead + length, len(joined))
    begins[lead] = True
    ends[lead[lead > 0]] |= word[lead[lead > 0] - 1]
    ends[stop] = True
    follows = stop[stop < len(joined)]
    begins[follows] |= word[follows]
