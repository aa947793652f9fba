"""Fusion, ranks, support and the calibrated threshold, on vectors written by hand."""

import numpy as np
import pytest

from backends.base import Metric, Prediction
from backends.rag import fusion, measurement, search, vectors, words
from backends.rag.chunks import Chunk
from backends.rag.fusion import Candidates, Fusion, fused
from backends.rag.index import Index
from backends.rag.measurement import Trial
from backends.rag.questions import Question
from backends.rag.search import Hit
from backends.rag.sections import sections

TEXTS = ["red apples", "green apples", "blue sky", "green grass"]
DOCUMENTS = ["fruit", "fruit", "sky", "grass"]


@pytest.fixture
def index() -> Index:
    chunks = [
        Chunk(document, "", 0, len(text), text, text)
        for document, text in zip(DOCUMENTS, TEXTS, strict=True)
    ]
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, -0.8]], dtype=np.float32)
    return Index(chunks, vectors.built(rows), words.build(TEXTS, "english"))


def asked(index: Index, question: str, retriever: str, weight: float = 0.5) -> list[Hit]:
    towards_sky = np.array([[0, 1]], dtype=np.float32)
    (found,) = search.ranked(index, [question], towards_sky, retriever, Fusion(weight))
    return found


def test_each_retriever_ranks_in_its_own_way(index: Index) -> None:
    dense = asked(index, "green apple", "dense")
    assert [hit.passage for hit in dense] == [2, 1, 0, 3]
    assert dense[0].score == dense[0].similarity == pytest.approx(1)
    sparse = asked(index, "green apple", "bm25")
    assert sparse[0].passage == 1 and {hit.passage for hit in sparse} == {0, 1, 3}
    assert sparse[0].similarity == pytest.approx(0.6)


@pytest.mark.parametrize(("weight", "first"), [(1.0, 2), (0.0, 1), (0.5, 1)])
def test_hybrid_weighs_both_and_holds_the_candidates_of_both(
    index: Index, weight: float, first: int
) -> None:
    found = asked(index, "green apple", "hybrid", weight)
    assert found[0].passage == first and len(found) == 4
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True) and -1 <= scores[-1] <= scores[0] <= 1


def test_hybrid_is_the_weighted_sum_over_the_best_of_each(index: Index) -> None:
    pairs = index.words.pairs("green apple", np.arange(len(index.chunks)))
    shares = (index.words.shares("green apple") + search.PAIRS * pairs) / (1 + search.PAIRS)
    found = asked(index, "green apple", "hybrid", 0.25)
    cosine = max(hit.similarity for hit in found)
    share = max(shares.max(), fusion.PLAIN_SHARE)
    for hit in found:
        expected = 0.25 * hit.similarity / cosine + 0.75 * shares[hit.passage] / share
        assert hit.score == pytest.approx(float(expected), abs=1e-6)


def test_a_weak_find_of_words_is_not_stretched() -> None:
    rows = np.array([1, 2], dtype=np.int64)
    cosines, way = np.array([0.5, 0.4], np.float32), Fusion(0.6)
    weak = Candidates(rows, cosines, np.array([0, 0.1], np.float32), cosines)
    strong = weak._replace(shares=np.array([0, 0.6], np.float32))
    assert fused(weak, way)[0] > fused(weak, way)[1]
    assert fused(strong, way)[0] < fused(strong, way)[1]
    assert fused(strong, way).max() <= 1


def test_what_stands_around_a_passage_speaks_for_it() -> None:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(30, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    sizes = [1, 6, 2, 1, 1, 9, 10]
    names = np.repeat(np.arange(len(sizes)), sizes).tolist()
    texts = [f"w{n}" for n in range(30)]
    chunks = [Chunk("d", f"# {name}", 0, 2, t, t) for name, t in zip(names, texts, strict=True)]
    held = sections(chunks)
    assert held.tolist() == names
    index = Index(chunks, vectors.built(rows), words.build(texts, "none", held))
    asked = rows[4:5]
    for some in (np.arange(30), np.array([0, 3, 4, 12, 29])):
        inside = np.asarray(some, dtype=np.int64)
        (found,) = search.candidates(index, ["zebra"], asked, "hybrid", allowed=inside)
        assert found.passages.tolist() == some.tolist()
        for at, cosine, context in zip(some, found.cosines, found.contexts, strict=True):
            near = [n for n in range(at - 2, at + 3) if 0 <= n < 30 and names[n] == names[at]]
            whole = rows[near].sum(axis=0)
            assert cosine == pytest.approx(float(rows[at] @ asked[0]), abs=1e-5)
            expected = float(whole @ asked[0]) / float(np.linalg.norm(whole))
            assert context == pytest.approx(expected, abs=1e-5)
    alone, beside = (fused(found, Fusion(1.0, context=one)) for one in (0.0, 1.0))
    assert alone.argmax() == 2 and alone.tolist() != beside.tolist()


def test_no_more_than_the_depth_is_found(index: Index) -> None:
    towards_sky = np.array([[0, 1]], dtype=np.float32)
    for retriever in ("dense", "bm25", "hybrid"):
        (found,) = search.ranked(
            index, ["green apples"], towards_sky, retriever, Fusion(0.5), depth=2
        )
        whole = asked(index, "green apples", retriever)
        assert [hit.passage for hit in found] == [hit.passage for hit in whole][:2]


def test_hybrid_is_dense_where_no_word_is_shared(index: Index) -> None:
    found = asked(index, "zebra", "hybrid")
    assert [hit.passage for hit in found[:3]] == [2, 1, 0]


def test_an_empty_index_finds_nothing() -> None:
    nothing = np.zeros((0, 2), dtype=np.float32)
    index = Index([], vectors.built(nothing), words.build([""], "english"))
    assert asked(index, "green", "hybrid") == []


def test_documents_are_ranked_where_the_question_names_one_and_passages_where_it_names_words(
    index: Index,
) -> None:
    hits = [Hit(0, 3, 0), Hit(1, 2, 0), Hit(2, 1, 0)]
    assert measurement.rank(index, Question("q", "sky"), hits) == 2
    assert measurement.rank(index, Question("q", "sky", (0, 8)), hits) == 3
    assert measurement.rank(index, Question("q", answers=("blue sky",)), hits) == 3
    assert measurement.rank(index, Question("q", "grass"), hits) is None


def test_a_retriever_is_better_only_where_the_intervals_lie_apart() -> None:
    chosen = Metric(0.8, 0.7, 0.85)
    ahead = {"mrr": chosen, "dense_mrr": Metric(0.6, 0.5, 0.7), "bm25_mrr": Metric(0.9, 0.86, 1)}
    assert measurement.better(ahead) == "bm25"
    assert measurement.better(ahead | {"bm25_mrr": Metric(0.9, 0.84, 1)}) is None
    assert measurement.better({}) is None


def test_support_is_the_mean_of_cosine_and_coverage(index: Index) -> None:
    assert search.support(index, "blue sky", "the sky is blue", 0.5) == pytest.approx(0.75)
    assert search.support(index, "blue sky", "nothing", -0.5) == 0
    assert search.best_support(index, "blue sky", []) is None
    hits = [Hit(0, 1, 0.9), Hit(2, 1, 0.8)]
    assert search.best_support(index, "blue sky", hits) == pytest.approx(0.9)


def trial(index: Index, *cosines: tuple[float, float, bool]) -> Trial:
    """Questions without words in common with anything: support is half the cosine.

    For each: the cosine of the right passage, that of the best other one, and whether the
    corpus answers it at all.
    """
    questions = [
        Question("zebra", "fruit" if known else None, answerable=known) for *_, known in cosines
    ]
    hits = [[Hit(0, 1, right), Hit(2, 0, other)] for right, other, _ in cosines]
    return Trial(questions, np.zeros((len(hits), 2), dtype=np.float32), {"hybrid": hits})


def test_the_threshold_lies_between_answered_and_not(index: Index) -> None:
    made = trial(index, (0.8, 0.2, True), (0.9, 0.3, True), (0.4, 0.3, False))
    cut = measurement.threshold(index, made, "hybrid", top_k=5)
    assert cut is not None and 0.2 < cut < 0.4


def test_the_threshold_refuses_at_most_a_tenth_of_the_answerable(index: Index) -> None:
    low = [(0.1 * n, 0.95, True) for n in range(1, 11)]
    made = trial(index, *low)
    cut = measurement.threshold(index, made, "hybrid", top_k=5)
    assert cut is not None
    best = [max(right, 0.95) / 2 for right, _, _ in low]
    assert sum(value >= cut for value in best) >= 9


def test_there_is_no_threshold_without_an_answered_question(index: Index) -> None:
    made = trial(index, (0.4, 0.3, False))
    assert measurement.threshold(index, made, "hybrid", top_k=5) is None


def test_answers_are_scored_and_withheld_ones_count(index: Index) -> None:
    questions = [
        Question("a", answers=("red apples",)),
        Question("b", answers=("blue sky",)),
        Question("c", answerable=False),
    ]
    said = [
        Prediction("a", answer="They are red apples."),
        Prediction("b", abstained=True),
        Prediction("c", abstained=True),
    ]
    made = Trial(questions, np.zeros((3, 2), dtype=np.float32), {})
    metrics = measurement.answers(made, said)
    assert metrics["answer_contained"].value == metrics["answered"].value == 0.5
    assert metrics["answer_f1"].value == pytest.approx((2 * 2 / 6) / 2)
    assert metrics["abstained_unanswerable"].value == 1
    assert metrics["answer_f1"].low is not None
