"""What questions settle about an index: the weight of the fusion, the threshold to abstain.

Measured out of sample: questions fall into two halves, each answered with what the other half
settled; what is kept for later is settled on all of them.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from backends.base import Metric
from backends.rag import measurement
from backends.rag.answers import Reader
from backends.rag.embedder import Embedder
from backends.rag.index import Index, Manifest
from backends.rag.measurement import Trial
from backends.rag.questions import Question
from backends.rag.reranker import Reranker
from backends.rag.search import Candidates, Hit, candidates, fused

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
ENOUGH_TO_SPLIT = 20  # questions; of fewer no half says anything
ENOUGH_FOR_WEIGHT = 40  # answerable questions


class Outcome(msgspec.Struct, frozen=True):
    """Metrics, the manifest with all settled, and notes for people."""

    metrics: dict[str, Metric]
    manifest: Manifest
    notes: tuple[str, ...]


def measured(
    index: Index,
    embedder: Embedder,
    questions: Sequence[Question],
    said: Manifest,
    *,
    choose_weight: bool,
    choose_threshold: bool,
    rerank: Reranker | None = None,
    seed: int = 13,
) -> Outcome:
    """Settle what is to be chosen and measure the index on the same questions, out of sample."""
    asked = embedder.questions([question.text for question in questions])
    notes: list[str] = []
    halves = halves_of(len(questions), seed)
    if halves is None and (choose_weight or choose_threshold):
        notes.append(
            f"{len(questions)} questions are too few to hold some back: the metrics are of the "
            "questions that the threshold was calibrated on"
        )
    answerable = sum(question.answerable for question in questions)
    weights = [said.dense_weight] * len(questions)
    if choose_weight and halves is not None and answerable >= ENOUGH_FOR_WEIGHT:
        found = list(candidates(index, [q.text for q in questions], asked, "hybrid"))
        ranks = reciprocal_ranks(index, questions, found)
        for half in (0, 1):
            weight = best_weight(ranks[:, halves != half], said.dense_weight)
            weights = [weight if halves[n] == half else w for n, w in enumerate(weights)]
        final = best_weight(ranks, said.dense_weight)
        notes.append(f"embeddings weigh {final:g} in hybrid, chosen on the questions")
        said = msgspec.structs.replace(said, dense_weight=final)
    made = _trial(index, questions, asked, said, weights, rerank)
    reader = Reader(index, embedder)
    thresholds = [said.abstain_below] * len(questions)
    if choose_threshold:
        whole = measurement.threshold(index, made, said.retriever, said.top_k)
        if whole is not None:
            thresholds = _thresholds(index, made, said, halves, whole)
            said = msgspec.structs.replace(said, abstain_below=whole)
            notes.append(f"abstains below support {whole:.3f}, calibrated on the questions")
    told = measurement.predictions(
        reader, made, said.retriever, said.top_k, said.answer_sentences, thresholds
    )
    metrics = measurement.retrieval(index, made, said.retriever, seed)
    metrics |= measurement.answers(made, told, seed)
    metrics |= measurement.oracle(reader, made, said.answer_sentences, seed)
    if better := measurement.better(metrics):
        notes.append(f"{better} alone ranks better here: set retriever to {better!r}")
    return Outcome(metrics, said, tuple(notes))


def halves_of(number: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]] | None":
    """For each question the half it falls into, 0 or 1; None for too few."""
    if number < ENOUGH_TO_SPLIT:
        return None
    order = np.random.default_rng(seed).permutation(number)
    halves = np.zeros(number, dtype=np.int64)
    halves[order[: number // 2]] = 1
    return halves


def reciprocal_ranks(
    index: Index, questions: Sequence[Question], found: Sequence[Candidates]
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """For each weight and question the reciprocal rank of a right passage; NaN: unanswerable."""
    ranks = np.full((len(WEIGHTS), len(questions)), np.nan)
    for number, (question, held) in enumerate(zip(questions, found, strict=True)):
        if not question.answerable:
            continue
        for row, weight in enumerate(WEIGHTS):
            scores = fused(held, weight)
            order = np.lexsort((held.passages, -scores))
            hits = [Hit(int(held.passages[at]), 0.0, 0.0) for at in order]
            place = measurement.rank(index, question, hits)
            ranks[row, number] = 0.0 if place is None else 1 / place
    return ranks


def best_weight(ranks: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", usual: float) -> float:
    """The weight of the highest mean; the usual one where none is clearly ahead of it.

    Clearly: by more than twice the standard error of the difference, question by question.
    """
    asked = ranks[:, ~np.isnan(ranks[0])]
    near = int(np.argmin([abs(weight - usual) for weight in WEIGHTS]))
    best = int(np.argmax(asked.mean(axis=1)))
    gain = asked[best] - asked[near]
    unsure = float(gain.std()) / max(len(gain), 1) ** 0.5
    return WEIGHTS[best] if float(gain.mean()) > 2 * unsure else usual


def _trial(
    index: Index,
    questions: Sequence[Question],
    asked: "np.ndarray[tuple[int, int], np.dtype[np.float32]]",
    said: Manifest,
    weights: Sequence[float],
    rerank: Reranker | None,
) -> Trial:
    """A trial in which every question is asked with its own weight."""
    hits: dict[str, list[list[Hit]]] = {}
    for weight in sorted(set(weights)):
        mine = [n for n, one in enumerate(weights) if one == weight]
        made = measurement.trial(
            index,
            [questions[n] for n in mine],
            asked[mine],
            msgspec.structs.replace(said, dense_weight=weight),
            None,
            rerank,
        )
        for retriever, found in made.hits.items():
            held = hits.setdefault(retriever, [[] for _ in questions])
            for n, one in zip(mine, found, strict=True):
                held[n] = one
    return Trial(questions, asked, hits)


def _thresholds(
    index: Index,
    made: Trial,
    said: Manifest,
    halves: "np.ndarray[tuple[int], np.dtype[np.int64]] | None",
    whole: float,
) -> list[float]:
    """For each question the threshold that the other half settles; `whole` where it cannot."""
    if halves is None:
        return [whole] * len(made.questions)
    settled = []
    for half in (0, 1):
        other = [n for n in range(len(made.questions)) if halves[n] != half]
        part = Trial(
            [made.questions[n] for n in other],
            made.asked[other],
            {name: [found[n] for n in other] for name, found in made.hits.items()},
        )
        one = measurement.threshold(index, part, said.retriever, said.top_k)
        settled.append(whole if one is None else one)
    return [settled[half] for half in halves]
