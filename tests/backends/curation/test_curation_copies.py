"""Copies: hashed runs of words are those that a plain set has, pairs those that Jaccard gives."""

import re
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.curation import copies
from backends.curation.copies import EXACT, KEPT, NEAR_COPY, Sketches, near_pairs, verdicts
from backends.curation.hashing import runs_of, words_of
from backends.curation.sketches import RUN, Sketcher

RANDOM = Random(5)
VOCABULARY = [f"w{number}" for number in range(3000)]


def changed(words: list[str], share: float) -> list[str]:
    """The words with about a share of them replaced, in stretches."""
    out = list(words)
    for _ in range(round(share * len(words) / 10)):
        at = RANDOM.randrange(len(words))
        out[at : at + 10] = RANDOM.choices(VOCABULARY, k=10)
    return out


def family(count: int) -> list[str]:
    """Texts of which some come from others by changes of every size."""
    texts: list[list[str]] = []
    for _ in range(count):
        if texts and RANDOM.random() < 0.6:
            texts.append(changed(RANDOM.choice(texts), RANDOM.choice((0.0, 0.02, 0.1, 0.2, 0.4))))
        else:
            texts.append(RANDOM.choices(VOCABULARY, k=RANDOM.randrange(3, 400)))
    return [" ".join(words) for words in texts]


def jaccard(one: str, other: str) -> float:
    """Shared runs of words among all, the plain way."""
    sets = []
    for text in (one, other):
        words = re.findall(r"\w+", text.lower())
        last = max(1, len(words) - RUN + 1)
        sets.append({tuple(words[at : at + RUN]) for at in range(last)} if words else set())
    union = sets[0] | sets[1]
    return len(sets[0] & sets[1]) / len(union) if union else 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab_1 \n.,é–“ÀÉ", max_size=30), max_size=6), st.integers(1, 6))
def test_words_and_runs_are_those_of_a_pattern(texts: list[str], length: int) -> None:
    plain = [re.findall(r"\w+", text.lower()) for text in texts]
    found = words_of(texts)
    assert np.bincount(found.texts, minlength=len(texts)).tolist() == [len(w) for w in plain]
    names: dict[object, int] = {}
    for name, value in zip((w for words in plain for w in words), found.hashes, strict=True):
        assert names.setdefault(name, int(value)) == int(value)
    assert len(set(names.values())) == len(names)
    runs = runs_of(found, length)
    expected = [
        tuple(words[at : at + length])
        for words in plain
        for at in range(max(1, len(words) - length + 1) if words else 0)
    ]
    known: dict[object, int] = {}
    for run, value in zip(expected, runs.hashes, strict=True):
        assert known.setdefault(run, int(value)) == int(value)
    assert len(set(known.values())) == len(known)


def test_characters_of_scripts_without_spaces_are_words() -> None:
    assert np.bincount(words_of(["漢字かな。x y", "🎉 ok"]).texts).tolist() == [6, 1]


def test_a_text_longer_than_a_batch_is_one_text() -> None:
    found = words_of(["x", "word " * 500_000, "y"])
    assert np.bincount(found.texts).tolist() == [1, 500_000, 1]


@pytest.mark.parametrize("at_once", [2**20, 2**10], ids=["whole", "sliced"])
def test_pairs_are_those_of_jaccard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(copies, "AT_ONCE", at_once)
    texts = family(150)
    true = {
        (a, b)
        for (a, one), (b, other) in combinations(enumerate(texts), 2)
        if jaccard(one, other) >= 0.7
    }
    for folder, part in (("0", texts[:60]), ("1", texts[60:])):
        with Sketcher(tmp_path / folder) as sketcher:
            for first in range(0, len(part), 17):
                sketcher.add(part[first : first + 17])
    with Sketches([tmp_path / "0", tmp_path / "1"]) as sketches:
        found = list(near_pairs(sketches))
    assert {(pair.first, pair.second) for pair in found} == true
    assert len(true) > 50
    for pair in found:
        assert pair.resemblance == pytest.approx(jaccard(texts[pair.first], texts[pair.second]))


def test_what_goes_has_a_like_one_that_stays(tmp_path: Path) -> None:
    texts = [*family(120), "A b, c!", "a B c", "", "...", "..."]
    with Sketcher(tmp_path) as sketcher:
        sketcher.add(texts)
    with Sketches([tmp_path]) as sketches:
        verdict, pairs = verdicts(sketches)
        originals = {pair.second: pair for pair in pairs}
    stays = [number for number, what in enumerate(verdict) if what == KEPT]
    for number, what in enumerate(verdict.tolist()):
        if what == NEAR_COPY:
            pair = originals[number]
            assert verdict[pair.first] == KEPT
            assert jaccard(texts[pair.first], texts[number]) >= 0.7
        if what == EXACT:
            words = re.findall(r"\w+", texts[number].lower())
            earlier = (re.findall(r"\w+", text.lower()) for text in texts[:number])
            assert words in earlier
    for a, b in combinations(stays, 2):
        assert jaccard(texts[a], texts[b]) < 0.7
    assert verdict[-5:].tolist() == [KEPT, EXACT, KEPT, KEPT, EXACT]


def test_one_text_a_hundred_times_leaves_one(tmp_path: Path) -> None:
    base = RANDOM.choices(VOCABULARY, k=300)
    texts = [" ".join([*base, f"x{number}"]) for number in range(150)]
    with Sketcher(tmp_path) as sketcher:
        sketcher.add(texts)
    with Sketches([tmp_path]) as sketches:
        verdict, pairs = verdicts(sketches)
        assert len(list(pairs)) == 149
    assert verdict.tolist() == [KEPT] + [NEAR_COPY] * 149
