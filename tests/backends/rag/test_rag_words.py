"""BM25: word endings, languages without spaces, coverage, saving."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.rag import words
from knowledge.errors import UserError

TEXTS = ["Staff may leave early.", "The keys open every room.", "Keys are returned.", "..."]


def test_endings_are_stripped_in_the_language_and_kept_without_one() -> None:
    assert words.words("Returned keys", "english") == ["return", "key"]
    assert words.words("Returned keys", "none") == ["returned", "keys"]
    assert words.words("gefundene Schlüssel", "german") == ["gefund", "schlussel"]


def test_unspaced_scripts_are_compared_by_pairs_of_characters() -> None:
    assert words.words("今天下雨 ok 山", "none") == ["今天", "天下", "下雨", "ok", "山"]


def test_the_best_passage_shares_the_rare_words() -> None:
    leave, opens, returned, symbols = words.build(TEXTS, "english").shares("a key opens a room")
    assert leave == symbols == 0 < returned < opens < 1


def test_a_share_falls_with_words_that_no_passage_has() -> None:
    index = words.build(TEXTS, "english")
    assert index.shares("key zebra")[2] < index.shares("key")[2]


def test_questions_of_unknown_words_find_nothing() -> None:
    index = words.build(TEXTS, "english")
    assert index.shares("zebra").tolist() == index.shares("?!").tolist() == [0] * 4
    assert words.build(["..."], "english").shares("a").tolist() == [0]


def test_a_word_as_it_stands_counts_beside_its_stem() -> None:
    assert words.terms("Returned keys", "english") == ["return", "=returned", "key", "=keys"]
    assert words.terms("Returned keys", "none") == ["returned", "keys"]
    index = words.build(["the key returned", "the keys returned"], "english")
    assert index.shares("keys")[1] > index.shares("keys")[0] > 0


@pytest.mark.parametrize("language", ["english", "none"])
def test_pairs_are_neighbours_in_the_question_and_in_the_passage(language: str) -> None:
    texts = ["open every room", "room of every key, open", "every room", "...", "key open every"]
    index = words.build(texts, language)
    every = np.arange(5)
    whole, none, part, symbols, across = index.pairs("open every room", every).tolist()
    assert whole == pytest.approx(1) and none == symbols == 0 < part < 1 and 0 < across < 1
    # The last word of one passage and the first of the next are no neighbours.
    assert index.pairs("room room", every).tolist() == [0] * 5
    assert index.pairs("open every room", np.array([2, 0])).tolist() == pytest.approx([part, 1])
    assert index.pairs("open zebra", every).tolist() == index.pairs("open", every).tolist()
    assert index.pairs("open every", np.zeros(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("language", "at_all", "power"), [("english", words.AT_ALL, words.EMPHASIS), ("none", 0, 0)]
)
def test_a_words_share_is_bm25s_and_more_where_endings_are_known(
    language: str, at_all: float, power: float
) -> None:
    texts = ["key key door", "door wall roof", "wall"]
    index = words.build(texts, language)

    def plain(word: str, text: str) -> float:
        often, length = text.split().count(word), len(text.split())
        # Lengths count every term: two a word where each has a stem.
        saturated = often / (often + words.K1 * (1 - words.B + words.B * length / (7 / 3)))
        return index.rarity(word) * (saturated + at_all * (often > 0))

    emphasis = {word: index.rarity(word) ** power for word in ("key", "door", "zebra")}
    most = sum(index.rarity(word) * (1 + at_all) * more for word, more in emphasis.items())
    found = index.shares("key door zebra", "stems").tolist()
    for text, share in zip(texts, found, strict=True):
        here = sum(plain(word, text) * emphasis[word] for word in ("key", "door"))
        assert share == pytest.approx(here / most, rel=1e-5)
    (alone,), (both,), (other,) = (
        words.build(["returned keys"], "english").shares(word, forms).tolist()
        for word, forms in (("keys", "stems"), ("keys", "both"), ("key", "both"))
    )
    assert other < both < alone


@pytest.mark.parametrize(
    ("language", "question", "bare"),
    [
        ("english", "How do you open the door?", "open the door"),
        ("german", "Wie öffnet man die Tür?", "öffnet man die Tür"),
        ("spanish", "¿Cómo se abre la puerta?", "se abre la puerta"),
    ],
)
def test_words_that_make_a_question_count_for_little(
    language: str, question: str, bare: str
) -> None:
    texts = [bare, question, bare.split()[0], "..."]
    index = words.build(texts, language)
    whole, asked, part, _ = index.shares(question).tolist()
    assert 0 < part < whole < asked
    # Not having the question's own words costs a passage less than not having the others.
    slight = words.weights_of(words.words(question, "none"), language)
    assert min(slight) == 0.3 and 1 in slight
    assert whole > 0.6 * asked
    plain = words.build(texts, "none")
    assert plain.shares(question)[0] < whole
    every = np.arange(2)
    (held, full), (counted, _) = (one.pairs(question, every).tolist() for one in (index, plain))
    assert counted < held < full == pytest.approx(1)


def test_stems_alone_are_one_of_the_ways_to_count() -> None:
    index = words.build(["the key returned", "the keys returned"], "english")
    assert index.shares("keys", "stems")[0] == index.shares("keys", "stems")[1] > 0
    only = words.build(["the key returned", "the keys returned"], "none")
    assert only.shares("keys", "stems").tolist() == only.shares("keys").tolist()


def test_what_a_cut_left_over_is_no_short_text() -> None:
    texts = ["key " + "door " * 30, "key door", "key " + "wall " * 30]
    alone = words.build(texts, "none").shares("key")
    assert alone[1] > 1.2 * alone[0]
    together = words.build(texts, "none", np.array([0, 0, 1], dtype=np.int32))
    assert together.shares("key").tolist() == pytest.approx([together.shares("key")[0]] * 3)
    # Filler is no word of the passage: neighbours are as they were.
    assert together.pairs("key door", np.arange(3)).tolist() == pytest.approx([1, 1, 0])


def test_a_changed_index_is_that_of_the_passages_it_has() -> None:
    texts = ["a b", "a b c d", "c", "d e f", "...", "e"]
    held = np.array([0, 0, 1, 2, 2, 3], dtype=np.int32)
    index = words.build(texts, "none", held)
    keep = np.array([0, 1, 3, 4])
    after = index.changed(keep, ["c a", "g"], np.array([0, 0], dtype=np.int32))
    assert after.sections.tolist() == [0, 0, 1, 1, 2, 2]
    kept = [*(texts[at] for at in keep), "c a", "g"]
    again = words.build(kept, "none", after.sections)
    for question in ("a", "c d", "g e"):
        assert after.shares(question).tolist() == pytest.approx(again.shares(question).tolist())


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=8).map(" ".join))
def test_pairs_agree_with_plain_counting(question: str) -> None:
    texts = ["a b c", "c b a d", "d d", "b"]
    index = words.build(texts, "none")
    wanted = dict.fromkeys(pairwise(question.split()))
    whole = sum(index.rarity(a) + index.rarity(b) for a, b in wanted)
    for text, share in zip(texts, index.pairs(question, np.arange(4)).tolist(), strict=True):
        has = set(pairwise(text.split())) & wanted.keys()
        here = sum(index.rarity(a) + index.rarity(b) for a, b in has)
        assert share == pytest.approx(here / whole, abs=1e-6)


def test_coverage_weighs_rare_words_more() -> None:
    index = words.build(TEXTS, "english")
    assert index.coverage("returned keys", "the key is returned") == 1
    rare, common = (index.coverage("return keys", text) for text in ("return", "key"))
    assert 0 < common < rare < 1
    assert index.coverage("?", "anything") == 0


def test_an_index_reads_back_the_same(tmp_path: Path) -> None:
    index = words.build(TEXTS, "english")
    index.save(tmp_path / "bm25")
    again = words.load(tmp_path / "bm25", "english")
    assert again.passages == 4
    for question in ("open the room", "key", "zebra"):
        assert again.shares(question).tolist() == index.shares(question).tolist()
        assert again.coverage(question, TEXTS[1]) == index.coverage(question, TEXTS[1])


def test_an_unknown_language_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no language 'englsh'; did you mean 'english'"):
        words.check_language("englsh")
