"""Settings searched on half of the questions; questions made from the documents; fusion chosen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Context, Data, Step
from backends.rag import BACKEND, calibration, index, making, vectors, words
from backends.rag.chunks import Chunk
from backends.rag.index import Catalogue, Entry, Index
from backends.rag.questions import Question
from backends.rag.search import candidates
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
    assert len(tried) == 3 * len(calibration.WEIGHTS)
    assert all(one["seconds"] > 0 and one["mrr"]["n"] == 30 for one in tried)
    best = max(tried, key=lambda one: (one["mrr"]["value"], -one["passages"]))
    said = index.manifest(folder)
    assert (said.chunk_tokens, said.dense_weight) == (best["chunk_tokens"], best["dense_weight"])
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
    found = list(candidates(index, [q.text for q in questions], asked, "hybrid"))
    ranks = calibration.reciprocal_ranks(index, questions, found)
    assert expected[0] <= calibration.best_weight(ranks, 0.5) <= expected[1]


def test_the_usual_weight_stays_where_nothing_is_clearly_ahead() -> None:
    ranks = np.ones((len(calibration.WEIGHTS), 50)) * 0.5
    ranks[2, :3] = 1.0
    ranks[2, 3:5] = 0.1
    assert calibration.best_weight(ranks, 0.5) == 0.5


def test_nothing_measured_was_calibrated_on_itself() -> None:
    halves = calibration.halves_of(41, 1)
    assert halves is not None and abs(2 * int(halves.sum()) - 41) == 1
    assert calibration.halves_of(19, 1) is None
