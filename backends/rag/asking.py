"""An index opened to be asked: many questions together, from many threads, always up to date."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Prediction
from backends.rag import RETRIEVERS, reranker
from backends.rag import index as artefact
from backends.rag.answers import Reader, citation
from backends.rag.building import opened
from backends.rag.embedder import Embedder
from backends.rag.index import Index, Manifest
from backends.rag.reranker import Reranker
from backends.rag.search import DEPTH, Hit, diverse, matching, ranked, support
from backends.rag.sentences import sentences
from knowledge.errors import UserError, unknown


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How questions are asked; None takes what the index was made to do.

    `k` passages are cited; `where` are properties of documents to look in
    (`backends.rag.search.matching`); `sentences` are taken as the answer; `abstain_below` is the
    least support to answer, `diversity` how much cited passages must differ, both 0 to 1.
    """

    k: int | None = None
    retriever: str | None = None
    sentences: int | None = None
    abstain_below: float | None = None
    diversity: float | None = None
    where: Mapping[str, Any] = {}


AS_MADE = Asked()


class _State(NamedTuple):
    held: Index
    said: Manifest
    reader: Reader


class Answerer:
    """The index of a step's folder with its embedder, loaded once; safe to share between threads.

    A change of the index (`backends.rag.updating`) is seen by the next call; calls under way
    finish on the version they began with.

    Raises:
        UserError: the index or its embedder cannot be used.
    """

    def __init__(self, folder: Path, batch_size: int = 32) -> None:
        self.folder = folder
        index, said = artefact.load(folder)
        self.embedder: Embedder = opened(folder, said, batch_size)
        self._reranker: Reranker | None = None
        if said.reranker is not None:
            self._reranker = reranker.load(said.reranker, None, batch_size)
        self._state = _State(index, said, Reader(index, self.embedder))
        self._loading = threading.Lock()

    @property
    def manifest(self) -> Manifest:
        """What the index that is asked now was made with."""
        return self._current().said

    def answers(self, questions: Sequence[str], how: Asked = AS_MADE) -> list[Prediction]:
        """An answer to each question, in order.

        Raises:
            UserError: an option is out of range.
        """
        state = self._current()
        least = state.said.abstain_below if how.abstain_below is None else how.abstain_below
        wanted = how.sentences or state.said.answer_sentences
        asked, found = self._found(state, questions, how)
        return [
            state.reader.answer(question, vector, hits, sentences=wanted, abstain_below=least)
            for question, vector, hits in zip(questions, asked, found, strict=True)
        ]

    def passages(
        self, questions: Sequence[str], how: Asked = AS_MADE
    ) -> list[list[dict[str, Any]]]:
        """The passages found for each question, best first, as citations.

        Raises:
            UserError: an option is out of range.
        """
        state = self._current()
        _, found = self._found(state, questions, how)
        return [
            [citation(n, state.held.chunks[h.passage], h) for n, h in enumerate(hits, start=1)]
            for hits in found
        ]

    def support(self, statement: str, texts: Sequence[str]) -> float:
        """How much the best of some texts speaks to a statement, 0 to 1; by its sentences too.

        See `backends.rag.search.support`.
        """
        held = self._current().held
        parts = [*texts, *(text[a:b] for text in texts for a, b in sentences(text))]
        rows = self.embedder.passages([statement, *parts])
        cosines = rows[1:] @ rows[0]
        nearest = max((float(one) for one in cosines), default=0.0)
        return max((support(held, statement, text, nearest) for text in texts), default=0.0)

    def _current(self) -> _State:
        """The newest version of the index; one thread loads it, the others need not wait."""
        state = self._state
        try:
            if artefact.manifest(self.folder).generation == state.said.generation:
                return state
            if not self._loading.acquire(blocking=False):
                return state
        except UserError:
            return state  # the folder is gone; what is loaded still answers
        try:
            index, said = artefact.load(self.folder)
            artefact.refuse_other_embedder(said, self.embedder, self.folder)
            self._state = _State(index, said, Reader(index, self.embedder))
        finally:
            self._loading.release()
        return self._state

    def _found(
        self, state: _State, questions: Sequence[str], how: Asked
    ) -> tuple[NDArray[np.float32], list[list[Hit]]]:
        index, said, _ = state
        _check(how)
        k = said.top_k if how.k is None else how.k
        retriever = how.retriever or said.retriever
        allowed = matching(index, how.where) if how.where else None
        asked = self.embedder.questions(questions)
        hits = ranked(index, questions, asked, retriever, said.fusion, DEPTH, allowed)
        diversity = said.diversity if how.diversity is None else how.diversity
        found: list[list[Hit]] = []
        for question, held in zip(questions, hits, strict=True):
            if self._reranker is not None:
                held = self._reranker.ordered(index, question, held)
            found.append(diverse(index, held, diversity, k))
        return asked, found


def asked_with(options: Mapping[str, Any]) -> Asked:
    """Options by name as a record.

    Raises:
        UserError: an option is unknown or out of range.
    """
    fields = [field.name for field in msgspec.structs.fields(Asked)]
    for name in options:
        if name not in fields:
            raise unknown("option", name, fields)
    how = Asked(**options)
    _check(how)
    return how


def _check(how: Asked) -> None:
    if how.k is not None and how.k < 1:
        raise UserError(f"k is {how.k}; at least one passage is needed")
    if how.retriever is not None and how.retriever not in RETRIEVERS:
        raise unknown("retriever", how.retriever, RETRIEVERS)
    for name in ("abstain_below", "diversity"):
        value = getattr(how, name)
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"{name} is {value}; it lies between 0 and 1")
