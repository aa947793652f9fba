"""How well an index answers questions whose answers are known."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log2
from statistics import mean as average
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends import evaluate
from backends.base import Metric, Prediction
from backends.rag import RETRIEVERS
from backends.rag.answers import PASSAGES_READ, Reader
from backends.rag.chunks import Chunk
from backends.rag.index import Index, Manifest
from backends.rag.questions import Question, holds, right
from backends.rag.reranker import Reranker
from backends.rag.search import DEPTH, Hit, best_support, diverse, ranked

# Of the questions whose answer was found a calibrated threshold refuses at most a tenth: people
# mind a withheld answer more than one that they can check against its passages.
LEAST_ANSWERED = 0.9


class Trial(msgspec.Struct, frozen=True):
    """Questions asked of an index, and for each retriever what it found for each of them."""

    questions: Sequence[Question]
    asked: NDArray[np.float32]
    hits: dict[str, list[list[Hit]]]


def trial(
    index: Index,
    questions: Sequence[Question],
    asked: NDArray[np.float32],
    said: Manifest,
    chosen: str | None = None,
    rerank: Reranker | None = None,
    depth: int = DEPTH,
) -> Trial:
    """Ask every retriever every question.

    The chosen one (the manifest's, if none is named) is followed by the reranker and by
    diversity, as when the index is used; the others are not.

    Args:
        asked: the questions' vectors.
    """
    texts = [question.text for question in questions]
    hits: dict[str, list[list[Hit]]] = {
        retriever: list(ranked(index, texts, asked, retriever, said.fusion, depth))
        for retriever in RETRIEVERS
    }
    name = chosen or said.retriever
    if rerank is not None:
        pairs = zip(texts, hits[name], strict=True)
        hits[name] = [rerank.ordered(index, text, held) for text, held in pairs]
    if said.diversity:
        hits[name] = [diverse(index, held, said.diversity, depth) for held in hits[name]]
    return Trial(questions, asked, hits)


def metrics(
    reader: Reader, made: Trial, chosen: str, said: Manifest, seed: int = 13
) -> dict[str, Metric]:
    """All metrics of a trial: how well passages are found, how good the answers are."""
    least = said.abstain_below
    told = predictions(
        reader, made, chosen, said.top_k, said.answer_sentences, [least] * len(made.questions)
    )
    return (
        retrieval(reader.index, made, chosen, seed)
        | answers(made, told, seed)
        | oracle(reader, made, said.answer_sentences, seed)
    )


def retrieval(index: Index, made: Trial, chosen: str, seed: int = 13) -> dict[str, Metric]:
    """Recall, reciprocal rank and nDCG of the chosen retriever; of the others under their names.

    Where a question names a whole document, documents are ranked by their best passage; else
    passages are. Questions that the corpus does not answer are left out.
    """
    metrics: dict[str, Metric] = {}
    asked = [n for n, question in enumerate(made.questions) if question.answerable]
    if not asked:
        return metrics
    for retriever in sorted(RETRIEVERS, key=lambda name: name != chosen):
        ranks = [rank(index, made.questions[n], made.hits[retriever][n]) for n in asked]
        prefix = "" if retriever == chosen else f"{retriever}_"
        scores = evaluate.retrieval(ranks, seed)
        gains = [0.0 if rank is None or rank > 10 else 1 / log2(1 + rank) for rank in ranks]
        scores["ndcg@10"] = evaluate.mean(gains, seed)
        metrics.update({prefix + name: metric for name, metric in scores.items()})
    return metrics


def better(metrics: Mapping[str, Metric]) -> str | None:
    """A retriever that is clearly ahead of the chosen one: their intervals of MRR lie apart."""
    chosen = metrics.get("mrr")
    if chosen is None or chosen.high is None:
        return None
    for retriever in RETRIEVERS:
        other = metrics.get(f"{retriever}_mrr")
        if other is not None and other.low is not None and other.low > chosen.high:
            return retriever
    return None


def rank(index: Index, question: Question, hits: Sequence[Hit]) -> int | None:
    """The rank of the first right passage (or document), 1 the best; None if it is not there."""
    passages = np.asarray([hit.passage for hit in hits], dtype=np.int64)
    return place(listed(index, question, passages), np.arange(len(passages)))


class Listed(NamedTuple):
    """Passages as a question counts them: what each counts as, and whether it is a right one."""

    counted: NDArray[np.int64]
    right: NDArray[np.bool_]


def listed(index: Index, question: Question, passages: NDArray[np.int64]) -> Listed:
    """Passages for one question: those of a document count as one where it asks for that."""
    chunks = [index.chunks[int(at)] for at in passages]
    names: dict[str, int] = {}
    counted = np.arange(len(chunks))
    if question.asks_for_document():
        held = [names.setdefault(chunk.document, len(names)) for chunk in chunks]
        counted = np.asarray(held, dtype=np.int64)
    return Listed(counted, np.asarray([right(question, chunk) for chunk in chunks], dtype=bool))


def place(found: Listed, order: NDArray[np.int64]) -> int | None:
    """The rank of the first right one in an order; None if there is none."""
    hits = np.flatnonzero(found.right[order])
    return len(np.unique(found.counted[order[: hits[0] + 1]])) if len(hits) else None


def threshold(index: Index, made: Trial, retriever: str, top_k: int) -> float | None:
    """The support below which to abstain, calibrated on questions; None if none is answered.

    What the best passage's support is when the corpus has the answer is seen directly. What it
    is when the corpus has not, is seen in the file's unanswerable questions and by hiding from
    each other question the documents that answer it. The threshold maximises the mean of both
    shares decided rightly, as far as `LEAST_ANSWERED` of the answerable are answered.
    """
    known: list[float] = []
    lacking: list[float] = []
    for question, hits in zip(made.questions, made.hits[retriever], strict=True):
        answering = {
            index.chunks[hit.passage].document
            for hit in hits
            if right(question, index.chunks[hit.passage])
        }
        if question.document is not None:
            answering.add(question.document)
        hidden = [hit for hit in hits if index.chunks[hit.passage].document not in answering]
        if question.answerable and any(right(question, index.chunks[h.passage]) for h in hits):
            known.append(best_support(index, question.text, hits[:top_k]) or 0.0)
        if hidden:
            lacking.append(best_support(index, question.text, hidden[:top_k]) or 0.0)
    return _separating(known, lacking) if known and lacking else None


def answers(made: Trial, predictions: Sequence[Prediction], seed: int = 13) -> dict[str, Metric]:
    """How good the answers are, and how rightly they are withheld.

    `answer_f1` is against the accepted answers, 0 where the answer is withheld;
    `answer_contained` the share of answers that hold an accepted one; `citation_precision` the
    share of passages taken from that are right ones, among answers to answerable questions;
    `answered` the share of answerable questions that get an answer; `abstained_unanswerable` the
    share of unanswerable ones that rightly get none.
    """
    metrics: dict[str, Metric] = {}
    pairs = list(zip(made.questions, predictions, strict=True))
    accepted = [(p, q.answers) for q, p in pairs if q.answerable and q.answers]
    if accepted:
        said = [prediction.answer for prediction, _ in accepted]
        metrics["answer_f1"] = evaluate.token_f1(said, [ones for _, ones in accepted], seed)
        held = sum(holds(prediction.answer or "", ones) for prediction, ones in accepted)
        metrics["answer_contained"] = evaluate.share(held, len(accepted))
    used = [
        right(question, _cited(one))
        for question, prediction in pairs
        if question.answerable
        for one in prediction.citations
        if one["used"]
    ]
    if used:
        metrics["citation_precision"] = evaluate.share(sum(used), len(used))
    for name, wanted, abstained in (
        ("answered", True, False),
        ("abstained_unanswerable", False, True),
    ):
        decided = [p.abstained is abstained for q, p in pairs if q.answerable is wanted]
        if decided:
            metrics[name] = evaluate.share(sum(decided), len(decided))
    return metrics


def oracle(reader: Reader, made: Trial, sentences: int, seed: int = 13) -> dict[str, Metric]:
    """`oracle_answer_f1`: how good the answers are when the reader is handed a right passage.

    What it is ahead of `answer_f1` is lost in retrieval; what it lacks of 1 is lost in reading.
    """
    index = reader.index
    said: list[str | None] = []
    accepted: list[Sequence[str]] = []
    for question, asked in zip(made.questions, made.asked, strict=True):
        if not (question.answerable and question.answers and question.document):
            continue
        rows = index.rows({question.document})
        held = [int(at) for at in rows if right(question, index.chunks[int(at)])]
        telling = [at for at in held if holds(index.chunks[at].text, question.answers)]
        if held:
            hit = Hit((telling or held)[0], 1.0, 1.0)
            told = reader.answer(
                question.text, asked, [hit], sentences=sentences, abstain_below=0.0
            )
            said.append(told.answer)
            accepted.append(question.answers)
    return {"oracle_answer_f1": evaluate.token_f1(said, accepted, seed)} if said else {}


def predictions(
    reader: Reader,
    made: Trial,
    retriever: str,
    top_k: int,
    sentences: int,
    abstain_below: Sequence[float],
) -> list[Prediction]:
    """The answer to every question of a trial.

    Args:
        abstain_below: for each question the support below which it gets none.
    """
    found = made.hits[retriever]
    reader.prepare([hit.passage for hits in found for hit in hits[:PASSAGES_READ]])
    together = zip(made.questions, made.asked, found, abstain_below, strict=True)
    return [
        reader.answer(question.text, asked, hits[:top_k], sentences=sentences, abstain_below=least)
        for question, asked, hits, least in together
    ]


def _cited(one: Mapping[str, Any]) -> Chunk:
    return Chunk(one["document"], one["heading"], one["start"], one["end"], one["passage"], "")


def _separating(known: Sequence[float], lacking: Sequence[float]) -> float:
    values = sorted({*known, *lacking})
    between = [average(pair) for pair in pairwise(values)]
    above, below = np.sort(known), np.sort(lacking)

    def decided(cut: float) -> tuple[bool, float]:
        kept = 1 - float(np.searchsorted(above, cut)) / len(above)
        refused = float(np.searchsorted(below, cut)) / len(below)
        return kept >= LEAST_ANSWERED, kept + refused

    # Below every value all is answered, so that one cut at least keeps enough.
    return max([values[0], *between], key=decided)
