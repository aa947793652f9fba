"""Settings searched on half of the questions; questions made from the documents; fusion chosen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Context, Data, Step
from backends.rag import (
    BACKEND,
    Settings,
    calibration,
    choosing,
    index,
    making,
    measurement,
    vectors,
    words,
)
from backends.rag.building import Built
from backends.rag.chunks import Chunk
from backends.rag.fusion import Fusion
from backends.rag.index import Catalogue, Entry, Index
from backends.rag.questions import Question
from backends.rag.search import Hit, ranked
from knowledge.errors import UserError


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    folder = tmp_path / "rooms"
    folder.mkdir()
    for number in range(30):
        other = "The door is open until ten. Staff may take the key for a day. " * 3
        (folder / f"r{number}.md").write_text(
            f"# Room {number}\n\nRoom r{number}x has office key k{number}y and door d{number}z. "
            f"{other}\n\n## More\n\nThe month of room m{number}q is not this one.\n"
        )
    return folder


def finished(tmp_path: Path, corpus: Path, model: str, **settings: Any) -> Any:
    small = {"chunk_tokens": 20, "overlap_tokens": 4}
    step = Step("a", "rag", model=model, data=Data(corpus=str(corpus)), settings=small | settings)
    folder = tmp_path / "run"
    folder.mkdir()
    context = Context(folder=folder)
    BACKEND.check(step, context)
    return BACKEND.run(step, context), folder


def test_sizes_and_weights_are_chosen_on_one_half_and_measured_on_the_other(
    tmp_path: Path, rooms: Path, tiny: str
) -> None:
    result, folder = finished(tmp_path, rooms, tiny, try_chunk_tokens=(40, 60), made_questions=60)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    tried = [line for line in map(json.loads, lines) if line.get("phase") == "tried"]
    assert {one["chunk_tokens"] for one in tried} == {20, 40, 60}
    ways = len(calibration.WEIGHTS) * len(calibration.CONTEXTS) * len(words.FORMS)
    assert len(tried) == 3 * ways
    assert all(one["seconds"] > 0 and one["mrr"]["n"] == 30 for one in tried)
    taken = [one for one in tried if one["chosen"]]
    assert sorted(one["chunk_tokens"] for one in taken) == [20, 40, 60]
    best = max(taken, key=lambda one: (one["mrr"]["value"], -one["passages"]))
    said = index.manifest(folder)
    assert said.chunk_tokens == best["chunk_tokens"]
    assert said.fusion == Fusion(best["dense_weight"], best["word_forms"], best["context"])
    assert result.metrics["mrr"].n == 30 and result.counts["questions"] == 30
    assert result.metrics["mrr"].value > 0.2  # filler sentences stand in every room
    assert sum("(kept)" in note for note in result.notes) == 1
    assert any("flatter" in note for note in result.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"try_chunk_tokens": (40,)}, "try_chunk_tokens needs questions"),
        ({"try_chunk_tokens": (40,), "made_questions": 5}, "5 questions are too few"),
    ],
)
def test_settings_are_not_chosen_on_nothing(
    tmp_path: Path, rooms: Path, tiny: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        finished(tmp_path, rooms, tiny, **settings)


def test_made_questions_use_words_of_their_passage() -> None:
    texts = [f"The red door {n} has seven old keys and room {n * 7} is closed." for n in range(9)]
    chunks = [Chunk(f"d{n}", "", 0, len(t), t, t) for n, t in enumerate(texts)]
    counted = words.build(texts, "english")
    found = making.made(chunks, counted, 5, seed=1)
    assert len(found) == 5 and found == making.made(chunks, counted, 5, seed=1)
    for question in found:
        text = texts[int((question.document or "")[1:])]
        assert set(question.text.split()) < set(words.words(text, "none"))
    assert making.made([chunks[0]], counted, 5, seed=1)[0].span == (0, len(texts[0]))


def two_ways(best: str) -> tuple[Index, list[Question], np.ndarray]:
    """Forty passages that either their words or their vectors find, the other being noise."""
    draw = np.random.default_rng(5)
    names = [f"word{n}" for n in range(40)]
    shown = names if best == "bm25" else list(draw.permutation(names))
    chunks = [Chunk(f"d{n}", "", 0, len(t), t, t) for n, t in enumerate(shown)]
    rows = draw.normal(size=(40, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows if best == "dense" else draw.permutation(rows)
    entries = [Entry(f"d{n}", f"d{n}", 1) for n in range(40)]
    index = Index(chunks, vectors.built(rows), words.build(shown, "none"), Catalogue({}, entries))
    questions = [Question(names[n], f"d{n}") for n in range(40)]
    return index, questions, np.ascontiguousarray(asked)


@pytest.mark.parametrize(("best", "expected"), [("bm25", (0.0, 0.4)), ("dense", (0.6, 1.0))])
def test_the_weight_goes_to_what_finds(best: str, expected: tuple[float, float]) -> None:
    index, questions, asked = two_ways(best)
    ways = calibration.ways(Settings(), Fusion(0.5))
    ranks = calibration.reciprocal_ranks(index, questions, asked, ways)
    low, high = expected
    assert low <= calibration.best_way(ranks, ways, Fusion(0.5)).dense_weight <= high


@pytest.mark.parametrize("named", [True, False])
def test_reciprocal_ranks_are_those_of_the_search_itself(named: bool) -> None:
    index, questions, asked = two_ways("dense")
    if not named:
        questions = [Question(one.text, answers=(one.text,)) for one in questions]
    ways = [Fusion(0.0), Fusion(0.3, "stems", 0.0), Fusion(0.7, context=2.0), Fusion(1.0)]
    ranks = calibration.reciprocal_ranks(index, questions, asked, ways)
    for row, way in zip(ranks, ways, strict=True):
        hits = ranked(index, [one.text for one in questions], asked, "hybrid", way)
        places = [measurement.rank(index, *one) for one in zip(questions, hits, strict=True)]
        assert row.tolist() == [0 if place is None else 1 / place for place in places]


def test_only_what_is_not_set_is_chosen() -> None:
    usual = Fusion(0.35)
    assert usual in calibration.ways(Settings(), usual)
    some = calibration.ways(Settings(dense_weight=0.35, word_forms="both"), usual)
    assert {way.context for way in some} == {*calibration.CONTEXTS, usual.context}
    assert {(way.dense_weight, way.forms) for way in some} == {(0.35, "both")}
    assert calibration.ways(Settings(retriever="dense"), usual) == [usual]


def test_the_usual_way_stays_where_nothing_is_clearly_ahead() -> None:
    ways = calibration.ways(Settings(), Fusion(0.5))
    ranks = np.ones((len(ways), 50)) * 0.5
    ranks[2, :3] = 1.0
    ranks[2, 3:5] = 0.1
    assert calibration.best_way(ranks, ways, Fusion(0.5)) == Fusion(0.5)
    ranks[2] = 0.9
    assert calibration.best_way(ranks, ways, Fusion(0.5)) == ways[2]


def test_nothing_measured_was_calibrated_on_itself() -> None:
    parts = calibration.parts_of(41, 1)
    assert parts is not None and np.bincount(parts).tolist() == [9, 8, 8, 8, 8]
    assert calibration.parts_of(19, 1) is None
    # Each part's questions like another way best: none is answered with its own part's.
    ways = [Fusion(0.5), Fusion(0.1), Fusion(0.9)]
    parts = np.array([0] * 20 + [1] * 20)
    ranks = np.full((3, 40), 0.5)
    ranks[1, parts == 0] = ranks[2, parts == 1] = 1
    taken = calibration.crossed(ranks, ways, ways[0], parts)
    assert taken == [ways[2]] * 20 + [ways[1]] * 20


class ByWords:
    """A reranker that takes the passages with the question in them first, or last."""

    def __init__(self, *, better: bool) -> None:
        self.better = better

    def ordered(self, index: Index, question: str, hits: list[Hit]) -> list[Hit]:
        own = [hit for hit in hits if question in index.chunks[hit.passage].text]
        rest = [hit for hit in hits if hit not in own]
        return own + rest if self.better else rest[::-1] + own


@pytest.mark.parametrize("better", [True, False])
def test_a_reranker_is_kept_where_it_finds_more(better: bool) -> None:
    index, questions, asked = two_ways("bm25")

    class Given:
        def questions(self, texts: list[str]) -> np.ndarray:
            return np.asarray([asked[int(text.removeprefix("word"))] for text in texts])

    made: Any = Built(
        index, Given(), vectors.Search("flat"), 20, 4, Fusion(1.0), "keep", None, {}, []
    )
    rerank: Any = ByWords(better=better)
    # By their vectors, which are noise here, the right passages come anywhere.
    settings = Settings(
        chunk_tokens=20, overlap_tokens=4, dense_weight=1.0, context=0.0, reranker="some"
    )
    choice = choosing.chosen(settings, lambda _: made, lambda _: questions, 13, rerank)
    assert choice.settings.reranker == ("some" if better else None)
    (taken,) = [one for one in choice.tried if one.chosen]
    assert taken.reranked is better and sum(one.reranked for one in choice.tried) == 1
    assert "(kept)" in choice.notes()[0] and ("reranked" in choice.notes()[0]) is better
