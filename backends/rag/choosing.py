"""Searching the settings that find most: every size of passages with every weight of the fusion.

Chosen on one half of the questions, measured on the other.
"""

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from backends import evaluate
from backends.base import Metric
from backends.rag import Settings, calibration
from backends.rag.building import Built
from backends.rag.questions import Question
from backends.rag.search import candidates
from knowledge.errors import UserError


class Tried(msgspec.Struct, frozen=True):
    """One configuration: its MRR on the first half of the questions, and what it costs.

    A weight of 1 is the embeddings alone, of 0 BM25 alone. `seconds` are those of cutting,
    embedding and indexing; passages that an earlier size had too are not embedded again.
    """

    chunk_tokens: int
    dense_weight: float
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
        """The choice in words: the best weight of each size, the best size first."""
        lines = []
        for size in sorted({one.chunk_tokens for one in self.tried}):
            best = max((t for t in self.tried if t.chunk_tokens == size), key=lambda t: t.mrr.value)
            kept = " (kept)" if size == self.built.chunk_tokens else ""
            low, high = best.mrr.low or 0.0, best.mrr.high or 0.0
            lines.append(
                f"passages of {size} tokens, weight {best.dense_weight:g}{kept}: MRR "
                f"{best.mrr.value:.3f} ({low:.3f} to {high:.3f}) on the half that chooses, "
                f"{best.passages:,} passages in {best.seconds:.0f} s"
            )
        return lines


def chosen(
    settings: Settings,
    build: Callable[[Settings], Built],
    read: Callable[[Built], Sequence[Question]],
    seed: int,
) -> Choice:
    """The configuration of the highest MRR; of equal ones the one of fewer passages.

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
        halves = calibration.halves_of(len(questions), seed)
        if halves is None:
            raise UserError(
                f"{len(questions)} questions are too few to choose settings on; give at least "
                f"{calibration.ENOUGH_TO_SPLIT}, or leave try_chunk_tokens out"
            )
        first = [question for question, half in zip(questions, halves, strict=True) if half == 0]
        second = tuple(question for question, half in zip(questions, halves, strict=True) if half)
        begun = time.perf_counter()
        texts = [question.text for question in first]
        asked = made.embedder.questions(texts)
        found = list(candidates(made.index, texts, asked, "hybrid"))
        each = 1000 * (time.perf_counter() - begun) / max(len(first), 1)
        table = calibration.reciprocal_ranks(made.index, first, found)
        for row, weight in zip(table, calibration.WEIGHTS, strict=True):
            scores = row[~np.isnan(row)].tolist()
            if not scores:
                raise UserError("no question has an answer; settings are chosen on such questions")
            mrr = evaluate.mean(scores, seed)
            passages = len(made.index.chunks)
            tried.append(Tried(made.chunk_tokens, weight, mrr, spent, passages, each))
            worth = (mrr.value, -passages)
            if best is None or worth > best[0]:
                weighed = msgspec.structs.replace(made, dense_weight=weight)
                fixed = msgspec.structs.replace(mine, dense_weight=weight, retriever="hybrid")
                best = worth, weighed, fixed, second
    assert best is not None, "there is at least the size that was set"
    return Choice(best[1], best[2], tuple(tried), best[3])
