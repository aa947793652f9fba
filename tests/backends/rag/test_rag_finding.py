"""What narrows, spreads and reorders what is found: filters, diversity, a reranker; the engines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Context, Data, Step
from backends.rag import BACKEND, embedder, engines, reranker, search, vectors, words
from backends.rag.asking import Answerer, Asked
from backends.rag.chunks import Chunk
from backends.rag.fusion import Fusion
from backends.rag.index import Catalogue, Entry, Index
from backends.rag.search import Hit
from knowledge.errors import UserError

TEXTS = ["red apples", "red apples too", "blue sky", "green grass", "red wine"]
ROWS = np.array([[1, 0, 0], [0.99, 0.14, 0], [0, 1, 0], [0, 0, 1], [0.8, 0, 0.6]], dtype=np.float32)


def made(kind: Any = "flat") -> Index:
    chunks = [Chunk(f"d{at // 2}", "", 0, len(text), text, text) for at, text in enumerate(TEXTS)]
    entries = [
        Entry("d0", "fruit/a.md", 2, language="en", meta={"team": "kitchen", "year": 2024}),
        Entry("d1", "sky/b.pdf", 2, language="de", meta={"team": "office"}),
        Entry("d2", "fruit/c.md", 1, language="en"),
    ]
    rows = vectors.built(ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True), kind)
    return Index(chunks, rows, words.build(TEXTS, "english"), Catalogue({}, entries))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"source": "fruit/*"}, [0, 1, 4]),
        ({"document": ["d1", "d2"]}, [2, 3, 4]),
        ({"language": "de"}, [2, 3]),
        ({"team": "kitchen", "year": "2024"}, [0, 1]),
        ({"team": "kitchen", "language": "de"}, []),
    ],
)
def test_documents_are_chosen_by_their_properties(
    where: dict[str, Any], expected: list[int]
) -> None:
    assert search.matching(made(), where).tolist() == expected


def test_an_unknown_property_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'language'"):
        search.matching(made(), {"langage": "de"})


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("retriever", ["dense", "bm25", "hybrid"])
def test_nothing_is_found_outside_what_is_allowed(kind: str, retriever: str) -> None:
    index = made(kind)
    towards_red = np.array([[1, 0, 0]], dtype=np.float32)
    allowed = np.array([2, 4])
    half = Fusion(0.5)
    (found,) = search.ranked(index, ["red"], towards_red, retriever, half, allowed=allowed)
    assert found[0].passage == 4 and {hit.passage for hit in found} <= {2, 4}
    nothing = np.zeros(0, dtype=np.int64)
    found_nowhere = search.ranked(index, ["red"], towards_red, retriever, half, allowed=nothing)
    assert list(found_nowhere) == [[]]


def test_diverse_passages_do_not_repeat_the_best() -> None:
    hits = [Hit(0, 1.0, 1), Hit(1, 0.98, 1), Hit(4, 0.7, 1), Hit(2, 0.2, 1)]
    assert [h.passage for h in search.diverse(made(), hits, 0.0, 3)] == [0, 1, 4]
    assert [h.passage for h in search.diverse(made(), hits, 0.7, 2)] == [0, 2]
    assert search.diverse(made(), [], 0.5, 3) == []


class LongestFirst:
    """A cross-encoder's face: the longer the passage the better."""

    def predict(self, pairs: list[tuple[str, str]], **_: Any) -> np.ndarray:
        return np.array([len(passage) for _, passage in pairs], dtype=np.float32)


def test_a_reranker_orders_the_best_and_keeps_the_rest_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reranker, "RERANKED", 3)
    hits = [Hit(at, 1 - at / 10, 0.5) for at in range(5)]
    found = reranker.Reranker(LongestFirst(), 8).ordered(made(), "q", hits)
    assert [hit.passage for hit in found] == [1, 0, 2, 3, 4]
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True) and found[0].similarity == 0.5


def test_a_cross_encoder_on_disk_takes_part(tmp_path: Path, handbook: Path, tiny: str) -> None:
    from transformers import AutoConfig, AutoTokenizer, BertForSequenceClassification

    config = AutoConfig.from_pretrained(tiny)
    config.num_labels = 1
    folder = tmp_path / "cross"
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    settings = {"chunk_tokens": 30, "overlap_tokens": 5, "reranker": str(folder), "diversity": 0.2}
    step = Step("a", "rag", model=tiny, data=Data(corpus=str(handbook)), settings=settings)
    run = tmp_path / "run"
    run.mkdir()
    context = Context(folder=run)
    BACKEND.check(step, context)
    BACKEND.run(step, context)
    (hits,) = Answerer(run).passages(["Who must return the key?"])
    model = reranker.load(str(folder))
    index_score = {hit["passage"]: hit["score"] for hit in hits}
    pair = [("Who must return the key?", next(iter(index_score)))]
    heading = hits[0]["heading"]
    expected = float(model.model.predict([(pair[0][0], f"{heading}\n{pair[0][1]}".lstrip())])[0])
    assert hits[0]["score"] == pytest.approx(expected, abs=1e-3)


def test_an_answers_sentences_are_of_one_passage(tmp_path: Path, tiny: str) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "keys.txt").write_text("The red key to the cellar is lost. Lamps burn.")
    (corpus / "cellar.txt").write_text("Coal burns. The red key to the cellar hangs here.")
    run = tmp_path / "run"
    run.mkdir()
    BACKEND.run(Step("a", "rag", model=tiny, data=Data(corpus=str(corpus))), Context(folder=run))
    (said,) = BACKEND.predict(run, ["Where is the red key to the cellar?"], abstain_below=0)
    assert len(said.citations) == 2
    (used,) = (one for one in said.citations if one["used"])
    assert said.answer == used["passage"]


def test_filters_work_through_the_whole(tmp_path: Path, handbook: Path, tiny: str) -> None:
    step = Step(
        "a",
        "rag",
        model=tiny,
        data=Data(corpus=str(handbook)),
        settings={"chunk_tokens": 30, "overlap_tokens": 5},
    )
    BACKEND.run(step, Context(folder=tmp_path))
    (said,) = BACKEND.predict(tmp_path, ["key"], where={"document": "office/*"}, abstain_below=0)
    assert {one["document"] for one in said.citations} == {"office/keys.txt"}
    assert any(one["used"] for one in said.citations)
    (none,) = BACKEND.predict(tmp_path, ["key"], where={"kind": "table"})
    assert none.abstained and none.citations == ()
    with pytest.raises(UserError, match="no option 'hwere'"):
        BACKEND.predict(tmp_path, ["key"], hwere={})
    with pytest.raises(UserError, match=r"diversity is 2"):
        Answerer(tmp_path).answers(["key"], Asked(diversity=2))


LONG = [
    f"the key of room {n} is lost, pay for it within one month" * (n % 3 + 1) for n in range(90)
]


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_openvino_agrees_with_torch(tiny: str, precision: str) -> None:
    pytest.importorskip("openvino")
    model = embedder.load(tiny)
    exact = model.passages(LONG)
    assert model.settle(precision, LONG, "openvino") is None
    assert model.engine == "openvino"
    assert engines.agreement(exact, model.passages(LONG)) >= embedder.AGREEMENT
    again = embedder.load(tiny)
    assert again.fingerprint == model.fingerprint


def test_what_cannot_be_translated_is_embedded_without(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(engines, "_translated", fail)
    monkeypatch.setattr(engines, "find_spec", lambda name: True)
    model = embedder.load(tiny)
    note = model.settle("fp32", LONG, "openvino")
    assert note == "embedded without openvino: no such operation" and model.engine == "torch"
    assert model.passages(LONG[:2]).shape == (2, 16)


def test_an_engine_that_disagrees_is_refused(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(embedder, "AGREEMENT", 1.1)
    model = embedder.load(tiny)
    note = model.settle("fp32", LONG, "openvino")
    assert note is not None and "cosine" in note and model.engine == "torch"


def test_few_texts_are_not_worth_a_translation(tiny: str) -> None:
    assert all(one.engine == "torch" for one in engines.candidates("auto", "auto", 100))


CENTRES = np.random.default_rng(3).normal(size=(150, 24))
DRAWN = np.random.default_rng(4)


def clustered(rows: int) -> np.ndarray:
    made = CENTRES[DRAWN.integers(0, 150, rows)] + 0.5 * DRAWN.normal(size=(rows, 24))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["hnsw", "ivf-sq8"])
def test_a_fast_index_is_deep_enough_and_changes_in_place(kind: Any, tmp_path: Path) -> None:
    rows = clustered(12_000)
    index, how = vectors.chosen(rows, kind)
    assert how.kind == kind and how.recall_at_10 >= vectors.LEAST_RECALL
    vectors.save(index, tmp_path / "v.faiss")
    mapped = vectors.load(tmp_path / "v.faiss")
    near, places = vectors.best(mapped, rows[:5], 10)
    same = vectors.best(index, rows[:5], 10)
    assert np.array_equal(places, same[1]) and np.allclose(near, same[0])
    keep = np.flatnonzero(np.arange(12_000) % 4)
    fresh = clustered(30)
    changed = vectors.changed(vectors.load(tmp_path / "v.faiss", mapped=False), keep, fresh)
    assert changed.ntotal == len(keep) + 30
    every = np.vstack([rows[keep], fresh])
    assert np.allclose(vectors.at(changed, np.arange(len(every))), every, atol=0.05)
    _, found = vectors.best(changed, every[-30:], 1)
    assert np.mean(found[:, 0] == np.arange(len(keep), len(every))) > 0.9
    allowed = np.flatnonzero(np.arange(len(every)) % 2 == 0)
    big = np.concatenate([allowed] * 3)[: vectors.FLAT_UP_TO // 5 + 1]
    _, inside = vectors.best(changed, every[:8], 5, np.unique(big))
    assert not (inside[inside >= 0] % 2).any()


@pytest.mark.parametrize(
    ("passages", "free", "expected"),
    [
        (1_000, 2**34, "flat"),
        (100_000, 2**34, "hnsw"),
        (1_000_000, 2**34, "ivf-sq8"),
        (1_000_000, 2**30, "ivf-pq"),
        (100_000, 2**28, "ivf-sq8"),
    ],
)
def test_the_kind_follows_size_and_memory(passages: int, free: int, expected: str) -> None:
    assert vectors.kind_for(passages, 384, free) == expected


def test_an_index_that_cannot_reach_the_recall_gives_way_to_an_exact_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = clustered(12_000)
    monkeypatch.setattr(vectors, "kind_for", lambda *_: "ivf-pq")
    index, how = vectors.chosen(rows)
    assert how.kind == "flat" and vectors.is_flat(index)
    wished, poor = vectors.chosen(rows, "ivf-pq")
    assert not vectors.is_flat(wished) and poor.recall_at_10 < vectors.LEAST_RECALL
