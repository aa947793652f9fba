"""Answers taken from the passages found, word for word, with their citations."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Prediction
from backends.rag.chunks import Chunk, searched
from backends.rag.embedder import Embedder
from backends.rag.index import Index
from backends.rag.search import Hit, best_support, support
from backends.rag.sentences import sentences

# Sentences are sought in this many of the best passages.
PASSAGES_READ = 3
# What each rank takes off a sentence's support: the better passage is more likely the right one.
# On English XQuAD the best sentence holds the answer in 0.80 of questions, by cosine alone in 0.73.
RANK_COST = 0.02


class _Sentence(msgspec.Struct, frozen=True):
    """A sentence of a passage: offsets into the passage's text, and its vector."""

    start: int
    end: int
    vector: Any


class Reader:
    """Reads answers out of passages; the vectors of sentences are kept between questions."""

    def __init__(self, index: Index, embedder: Embedder) -> None:
        self.index = index
        self.embedder = embedder
        self._sentences: dict[int, list[_Sentence]] = {}

    def prepare(self, passages: Sequence[int]) -> None:
        """Embed the sentences of passages, together and each passage once."""
        fresh = sorted(set(passages) - set(self._sentences))
        spans = [(at, span) for at in fresh for span in sentences(self.index.chunks[at].text)]
        texts = [
            searched(self.index.chunks[at].heading, self.index.chunks[at].text[start:end])
            for at, (start, end) in spans
        ]
        vectors = self.embedder.passages(texts)
        self._sentences.update({at: [] for at in fresh})
        for (at, (start, end)), vector in zip(spans, vectors, strict=True):
            self._sentences[at].append(_Sentence(start, end, vector))

    def answer(
        self,
        question: str,
        asked: NDArray[np.float32],
        hits: Sequence[Hit],
        *,
        sentences: int,
        abstain_below: float,
    ) -> Prediction:
        """The sentences of the best passages nearest to a question, and all passages cited.

        No answer when no passage found supports the question as much as `abstain_below`; the
        passages are cited all the same, so that people can look for themselves.

        Args:
            asked: the question's vector.
            sentences: how many are taken; they stand in the order of their passages.
        """
        confidence = best_support(self.index, question, hits)
        cited = tuple(
            citation(number, self.index.chunks[hit.passage], hit)
            for number, hit in enumerate(hits, start=1)
        )
        if confidence is None or confidence < abstain_below:
            return Prediction(question, confidence=confidence, abstained=True, citations=cited)
        return Prediction(
            question,
            confidence=confidence,
            answer=self._said(question, asked, hits, sentences),
            citations=cited,
        )

    def _said(
        self, question: str, asked: NDArray[np.float32], hits: Sequence[Hit], wanted: int
    ) -> str:
        read = [hit.passage for hit in hits[:PASSAGES_READ]]
        self.prepare(read)
        scored: list[tuple[float, int, _Sentence]] = []
        for rank, at in enumerate(read):
            for one in self._sentences[at]:
                text = self.index.chunks[at].text[one.start : one.end]
                speaks = support(self.index, question, text, float(one.vector @ asked))
                scored.append((speaks - RANK_COST * rank, rank, one))
        best: list[tuple[int, int, str]] = []
        for _, rank, sentence in sorted(scored, key=lambda one: -one[0]):
            text = self.index.chunks[read[rank]].text[sentence.start : sentence.end]
            # Neighbouring passages overlap: the same sentence may come twice.
            if len(best) < wanted and text not in [said for _, _, said in best]:
                best.append((rank, sentence.start, text))
        return " ".join(" ".join(text.split()) for _, _, text in sorted(best))


def citation(number: int, chunk: Chunk, hit: Hit) -> dict[str, Any]:
    """A passage as a citation; `start` and `end` are character offsets into the document."""
    return {
        "n": number,
        "document": chunk.document,
        "heading": chunk.heading,
        "start": chunk.start,
        "end": chunk.end,
        "score": round(hit.score, 4),
        "similarity": round(hit.similarity, 4),
        "passage": chunk.text,
    }
