"""Questions with what answers them: a document, a passage in it, an accepted answer."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from backends.data import normalised
from backends.data.files import Record, records
from backends.rag.chunks import Chunk
from knowledge.errors import UserError

PLACES_NAMED = 5
# The same passages are compared with many questions.
_normalised = lru_cache(maxsize=10_000)(normalised)


class Question(msgspec.Struct, frozen=True):
    """One question.

    The right passages are those that share half with `span` of `document`; without a span all
    of the document; without a document those that hold an accepted answer.
    """

    text: str
    document: str | None = None
    span: tuple[int, int] | None = None
    answers: tuple[str, ...] = ()
    answerable: bool = True

    def asks_for_document(self) -> bool:
        """Whether any passage of the document is right, so that documents are ranked."""
        return self.document is not None and self.span is None


class Library(msgspec.Struct, frozen=True):
    """Where questions find what they name: a document's name forgivingly, its text."""

    named: Callable[[str], str | None]
    texts: Mapping[str, str]


class _Fault(Exception):  # noqa: N818 (collected and told together, not one at a time)
    """What is wrong with one row."""


def read(path: str, library: Library) -> list[Question]:
    """The questions of a JSONL, JSON, CSV, TSV or Parquet file.

    Columns: `question`; one or more of `document`, `passage` (its words) and `answer` or
    `answers`; or `answerable` false for a question that the corpus does not answer.

    Raises:
        UserError: the file or rows of it cannot be used; rows are named.
    """
    found: list[Question] = []
    faults: dict[str, list[str]] = {}
    for record in records(Path(path)):
        try:
            found.append(_question(record, library))
        except _Fault as fault:
            faults.setdefault(str(fault), []).append(record.place)
    if faults:
        raise UserError(_told(Path(path).name, faults))
    return found


def right(question: Question, chunk: Chunk) -> bool:
    """Whether a passage is one that the question asks for."""
    if not question.answerable:
        return False
    if question.document is not None:
        if chunk.document != question.document:
            return False
        if question.span is None:
            return True
        start, end = question.span
        shared = min(end, chunk.end) - max(start, chunk.start)
        return 2 * shared >= min(end - start, chunk.end - chunk.start)
    return holds(chunk.text, question.answers)


def holds(text: str, answers: Sequence[str]) -> bool:
    """Whether a text has the words of one of the answers, one after the other."""
    words = f" {_normalised(text)} "
    return any(f" {_normalised(answer)} " in words for answer in answers)


def _question(record: Record, library: Library) -> Question:
    cells = record.cells
    text = _text(cells, "question")
    if text is None:
        raise _Fault("no 'question'")
    answers = _answers(cells)
    if str(cells.get("answerable", True)).lower() in ("false", "0", "no"):
        return Question(text, answerable=False)
    wanted, passage = _text(cells, "document"), _text(cells, "passage")
    if wanted is None and passage is None and not answers:
        raise _Fault("none of 'document', 'passage', 'answer'")
    document = None if wanted is None else library.named(wanted)
    if wanted is not None and document is None:
        raise _Fault(f"the corpus has no document {wanted[:60]!r}")
    if passage is None:
        return Question(text, document, None, answers)
    within = library.texts if document is None else {document: library.texts[document]}
    place = _place(passage, within)
    if place is None:
        where = "the corpus" if document is None else repr(document)
        raise _Fault(f"the passage {passage[:40]!r} is not in {where}")
    return Question(text, place[0], place[1], answers)


def _text(cells: Mapping[str, Any], column: str) -> str | None:
    value = cells.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, list | dict):
        raise _Fault(f"{column!r} is a {type(value).__name__}, not text")
    return str(value)


def _answers(cells: Mapping[str, Any]) -> tuple[str, ...]:
    many = cells.get("answers")
    if isinstance(many, list):
        return tuple(one for one in many if isinstance(one, str) and one.strip())
    one = _text(cells, "answer")
    return () if one is None else (one,)


def _place(passage: str, texts: Mapping[str, str]) -> tuple[str, tuple[int, int]] | None:
    """The document and offsets of a passage, however its white space is."""
    pattern = re.compile(r"\s+".join(re.escape(word) for word in passage.split()))
    for name, text in texts.items():
        match = pattern.search(text)
        if match:
            return name, match.span()
    return None


def _told(file: str, faults: Mapping[str, list[str]]) -> str:
    what, places = max(faults.items(), key=lambda item: len(item[1]))
    others = sum(len(found) for found in faults.values()) - len(places)
    more = f" and {len(places) - PLACES_NAMED:,} more" if len(places) > PLACES_NAMED else ""
    return (
        f"{file}: {', '.join(places[:PLACES_NAMED])}{more}: {what}"
        + (
            f"; {others:,} other row{'s have' if others != 1 else ' has'} other faults"
            if others
            else ""
        )
        + "; mend or remove them"
    )
