"""What questions settle about an index: how hybrid ranks, and the threshold to abstain.

Measured out of sample: questions fall into parts, each answered with what the other parts
settled; what is kept for later is settled on all of them.
"""

from collections.abc import Sequence
from itertools import product

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Metric
from backends.rag import Settings, measurement
from backends.rag.answers import Reader
from backends.rag.embedder import Embedder
from backends.rag.fusion import CONTEXT, Fusion, fused
from backends.rag.index import Index, Manifest
from backends.rag.measurement import Trial
from backends.rag.questions import Question
from backends.rag.reranker import Reranker
from backends.rag.search import Hit, candidates
from backends.rag.words import FORMS

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CONTEXTS = (0.0, CONTEXT, 2.0)
PARTS = 5
ENOUGH_TO_SPLIT = 20  # questions; of fewer no part says anything
ENOUGH_TO_CHOOSE = 40  # answerable questions
# Standard errors that another way must be ahead: by chance it is so one time in ten.
CLEARLY = 1.28


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
    ways: Sequence[Fusion],
    choose_threshold: bool,
    rerank: Reranker | None = None,
    seed: int = 13,
) -> Outcome:
    """Settle what is to be chosen and measure the index on the same questions, out of sample.

    Args:
        ways: in which hybrid may rank; the manifest's is taken unless another is clearly ahead.
    """
    asked = embedder.questions([question.text for question in questions])
    notes: list[str] = []
    parts = parts_of(len(questions), seed)
    if parts is None and (len(ways) > 1 or choose_threshold):
        notes.append(
            f"{len(questions)} questions are too few to hold some back: the metrics are of the "
            "questions that the threshold was calibrated on"
        )
    answerable = sum(question.answerable for question in questions)
    taken = [said.fusion] * len(questions)
    if len(ways) > 1 and parts is not None and answerable >= ENOUGH_TO_CHOOSE:
        ranks = reciprocal_ranks(index, questions, asked, ways)
        taken = crossed(ranks, ways, said.fusion, parts)
        said = _fused(said, best_way(ranks, ways, said.fusion))
        notes.append(f"hybrid ranks with {told(said.fusion)}, chosen on the questions")
    made = _trial(index, questions, asked, said, taken, rerank)
    reader = Reader(index, embedder)
    thresholds = [said.abstain_below] * len(questions)
    if choose_threshold:
        whole = measurement.threshold(index, made, said.retriever, said.top_k)
        if whole is not None:
            thresholds = _thresholds(index, made, said, parts, whole)
            said = msgspec.structs.replace(said, abstain_below=whole)
            notes.append(f"abstains below support {whole:.3f}, calibrated on the questions")
    answers = measurement.predictions(
        reader, made, said.retriever, said.top_k, said.answer_sentences, thresholds
    )
    metrics = measurement.retrieval(index, made, said.retriever, seed)
    metrics |= measurement.answers(made, answers, seed)
    metrics |= measurement.oracle(reader, made, said.answer_sentences, seed)
    if better := measurement.better(metrics):
        notes.append(f"{better} alone ranks better here: set retriever to {better!r}")
    return Outcome(metrics, said, tuple(notes))


def ways(settings: Settings, usual: Fusion) -> list[Fusion]:
    """The fusions to choose from: every value of what is not set; the usual one among them."""
    if settings.retriever != "hybrid":
        return [usual]
    weights = sorted({*WEIGHTS, usual.dense_weight}) if settings.dense_weight is None else ()
    forms = FORMS if settings.word_forms is None else ()
    contexts = sorted({*CONTEXTS, usual.context}) if settings.context is None else ()
    every = product(
        weights or [usual.dense_weight], forms or [usual.forms], contexts or [usual.context]
    )
    return [Fusion(*one) for one in every]


def told(fusion: Fusion) -> str:
    """A fusion in words."""
    forms = {"both": "words as they stand and their stems", "stems": "stems alone"}
    return (
        f"embeddings weighing {fusion.dense_weight:g}, {forms[fusion.forms]}, "
        f"and the passages around weighing {fusion.context:g}"
    )


def parts_of(number: int, seed: int, parts: int = PARTS) -> NDArray[np.int64] | None:
    """For each question the part it falls into, 0 to `parts` - 1; None for too few."""
    if number < ENOUGH_TO_SPLIT:
        return None
    order = np.random.default_rng(seed).permutation(number)
    taken = np.empty(number, dtype=np.int64)
    taken[order] = np.arange(number) % parts
    return taken


def reciprocal_ranks(
    index: Index,
    questions: Sequence[Question],
    asked: NDArray[np.float32],
    ways: Sequence[Fusion],
) -> NDArray[np.float64]:
    """For each way and question the reciprocal rank of a right passage; NaN: unanswerable."""
    ranks = np.full((len(ways), len(questions)), np.nan)
    texts = [question.text for question in questions]
    for forms in sorted({way.forms for way in ways}):
        mine = [row for row, way in enumerate(ways) if way.forms == forms]
        found = candidates(index, texts, asked, "hybrid", forms)
        for number, (question, held) in enumerate(zip(questions, found, strict=True)):
            if not question.answerable:
                continue
            listed = measurement.listed(index, question, held.passages)
            for row in mine:
                order = np.lexsort((held.passages, -fused(held, ways[row])))
                place = measurement.place(listed, order)
                ranks[row, number] = 0.0 if place is None else 1 / place
    return ranks


def best_way(ranks: NDArray[np.float64], ways: Sequence[Fusion], usual: Fusion) -> Fusion:
    """The way of the highest mean; the usual one where none is clearly ahead of it.

    Clearly: by `CLEARLY` times the standard error of the difference, question by question.
    """
    asked = ranks[:, ~np.isnan(ranks[0])]
    best = int(np.argmax(asked.mean(axis=1)))
    gain = asked[best] - asked[list(ways).index(usual)]
    unsure = float(gain.std()) / max(len(gain), 1) ** 0.5
    return ways[best] if float(gain.mean()) > CLEARLY * unsure else usual


def crossed(
    ranks: NDArray[np.float64],
    ways: Sequence[Fusion],
    usual: Fusion,
    parts: NDArray[np.int64],
) -> list[Fusion]:
    """For each question the best way on the questions of the other parts."""
    chosen = [best_way(ranks[:, parts != part], ways, usual) for part in range(parts.max() + 1)]
    return [chosen[part] for part in parts]


def _fused(said: Manifest, fusion: Fusion) -> Manifest:
    """A manifest with another fusion."""
    return msgspec.structs.replace(
        said, dense_weight=fusion.dense_weight, word_forms=fusion.forms, context=fusion.context
    )


def _trial(
    index: Index,
    questions: Sequence[Question],
    asked: NDArray[np.float32],
    said: Manifest,
    taken: Sequence[Fusion],
    rerank: Reranker | None,
) -> Trial:
    """A trial in which every question is ranked in its own way."""
    hits: dict[str, list[list[Hit]]] = {}
    for way in dict.fromkeys(taken):
        mine = [n for n, one in enumerate(taken) if one == way]
        made = measurement.trial(
            index,
            [questions[n] for n in mine],
            asked[mine],
            _fused(said, way),
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
    parts: NDArray[np.int64] | None,
    whole: float,
) -> list[float]:
    """For each question the threshold that the other parts settle; `whole` where it cannot."""
    if parts is None:
        return [whole] * len(made.questions)
    settled = []
    for part in range(parts.max() + 1):
        other = [n for n in range(len(made.questions)) if parts[n] != part]
        rest = Trial(
            [made.questions[n] for n in other],
            made.asked[other],
            {name: [found[n] for n in other] for name, found in made.hits.items()},
        )
        one = measurement.threshold(index, rest, said.retriever, said.top_k)
        settled.append(whole if one is None else one)
    return [settled[part] for part in parts]
