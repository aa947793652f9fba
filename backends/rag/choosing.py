"""Searching the settings that find most: every size of passages with every fusion, and reranked.

Chosen on one half of the questions, measured on the other.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends import evaluate
from backends.base import Metric
from backends.rag import Settings, calibration, measurement
from backends.rag.building import Built
from backends.rag.fusion import Fusion
from backends.rag.questions import Question
from backends.rag.reranker import Reranker
from backends.rag.search import ranked
from backends.rag.words import Forms
from knowledge.errors import UserError


class Tried(msgspec.Struct, frozen=True):
    """One configuration: its MRR on the first half of the questions, and what it costs.

    A weight of 1 is the embeddings alone, of 0 BM25 alone. `seconds` are those of cutting,
    embedding and indexing; passages that an earlier size had too are not embedded again.
    `ms_per_question` are of embedding, searching and, where it is `reranked`, reranking.
    """

    chunk_tokens: int
    dense_weight: float
    word_forms: Forms
    context: float
    reranked: bool
    chosen: bool
    mrr: Metric
    seconds: float
    passages: int
    ms_per_question: float


class Choice(msgspec.Struct, frozen=True):
    """The best configuration built, all that were tried, and the questions left to measure on."""

    built: Built
    settings: Settings
    tried: tuple[Tried, ...]
    held_back: tuple[Question, ...]

    def notes(self) -> list[str]:
        """The choice in words: what was taken of each size, the best size kept."""
        lines = []
        for one in self.tried:
            if one.chosen:
                kept = " (kept)" if one.chunk_tokens == self.built.chunk_tokens else ""
                low, high = one.mrr.low or 0.0, one.mrr.high or 0.0
                how = calibration.told(Fusion(one.dense_weight, one.word_forms, one.context))
                lines.append(
                    f"passages of {one.chunk_tokens} tokens, {how}"
                    f"{', reranked' if one.reranked else ''}{kept}: MRR "
                    f"{one.mrr.value:.3f} ({low:.3f} to {high:.3f}) on the half that chooses, "
                    f"{one.passages:,} passages in {one.seconds:.0f} s, "
                    f"{one.ms_per_question:.1f} ms a question"
                )
        return lines


class _Way(NamedTuple):
    fusion: Fusion
    reranked: bool
    ranks: NDArray[np.float64]
    ms: float


def chosen(
    settings: Settings,
    build: Callable[[Settings], Built],
    read: Callable[[Built], Sequence[Question]],
    seed: int,
    rerank: Reranker | None = None,
) -> Choice:
    """The configuration of the highest MRR; of equal ones the one of fewer passages.

    Of each size the usual fusion is taken unless another is clearly ahead
    (`calibration.best_way`), and the reranker if it finds more.

    Args:
        build: the index that settings make.
        read: the questions, placed in an index's documents.
    Raises:
        UserError: there are too few questions to hold half of them back.
    """
    sizes = sorted({settings.chunk_tokens, *settings.try_chunk_tokens})
    tried: list[Tried] = []
    best: tuple[tuple[float, int], Built, Settings, tuple[Question, ...]] | None = None
    for size in sizes:
        overlap = min(settings.overlap_tokens, size // 2)
        mine = msgspec.structs.replace(settings, chunk_tokens=size, overlap_tokens=overlap)
        begun = time.perf_counter()
        made = build(mine)
        spent = time.perf_counter() - begun
        questions = list(read(made))
        halves = calibration.parts_of(len(questions), seed, 2)
        if halves is None:
            raise UserError(
                f"{len(questions)} questions are too few to choose settings on; give at least "
                f"{calibration.ENOUGH_TO_SPLIT}, or leave try_chunk_tokens out"
            )
        first = [question for question, half in zip(questions, halves, strict=True) if half == 0]
        second = tuple(question for question, half in zip(questions, halves, strict=True) if half)
        every, taken = _ways(made, mine, first, rerank)
        passages = len(made.index.chunks)
        tried += [
            Tried(
                chunk_tokens=made.chunk_tokens,
                dense_weight=way.fusion.dense_weight,
                word_forms=way.fusion.forms,
                context=way.fusion.context,
                reranked=way.reranked,
                chosen=way is taken,
                mrr=evaluate.mean(way.ranks.tolist(), seed),
                seconds=spent,
                passages=passages,
                ms_per_question=way.ms,
            )
            for way in every
        ]
        worth = (float(taken.ranks.mean()), -passages)
        if best is None or worth > best[0]:
            fixed = msgspec.structs.replace(
                mine,
                retriever="hybrid",
                dense_weight=taken.fusion.dense_weight,
                word_forms=taken.fusion.forms,
                context=taken.fusion.context,
                reranker=settings.reranker if taken.reranked else None,
            )
            best = worth, msgspec.structs.replace(made, fusion=taken.fusion), fixed, second
    assert best is not None, "there is at least the size that was set"
    return Choice(best[1], best[2], tuple(tried), best[3])


def _ways(
    made: Built, settings: Settings, questions: Sequence[Question], rerank: Reranker | None
) -> tuple[list[_Way], _Way]:
    """Every way to ask one index, each with its reciprocal ranks, and the one to take."""
    asked = [question for question in questions if question.answerable]
    if not asked:
        raise UserError("no question has an answer; settings are chosen on such questions")
    begun = time.perf_counter()
    texts = [question.text for question in asked]
    rows = made.embedder.questions(texts)
    for _ in ranked(made.index, texts, rows, "hybrid", made.fusion):
        pass
    ms = 1000 * (time.perf_counter() - begun) / len(asked)
    settings = msgspec.structs.replace(settings, retriever="hybrid")
    fusions = calibration.ways(settings, made.fusion)
    table = calibration.reciprocal_ranks(made.index, asked, rows, fusions)
    every = [_Way(fusion, False, ranks, ms) for fusion, ranks in zip(fusions, table, strict=True)]
    taken = every[fusions.index(calibration.best_way(table, fusions, made.fusion))]
    if rerank is not None:
        begun = time.perf_counter()
        hits = ranked(made.index, texts, rows, "hybrid", taken.fusion)
        places = [
            measurement.rank(made.index, question, rerank.ordered(made.index, question.text, held))
            for question, held in zip(asked, hits, strict=True)
        ]
        more = 1000 * (time.perf_counter() - begun) / len(asked)
        ranks = np.asarray([0.0 if place is None else 1 / place for place in places])
        every.append(_Way(taken.fusion, True, ranks, ms + more))
        if ranks.mean() > taken.ranks.mean():
            taken = every[-1]
    return every, taken
