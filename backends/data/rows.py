"""The rows that every backend trains and scores on, whatever the file looked like.

`line` is the line of the file where the row begins (Parquet has none: the row's number).
"""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation; `calls` is the JSON of the tools that the assistant calls."""

    role: str
    content: str
    calls: str | None = None


Turns: TypeAlias = tuple[Message, ...]


class Text(msgspec.Struct, frozen=True):
    """A text with nothing to predict."""

    text: str
    line: int


class Labelled(msgspec.Struct, frozen=True):
    """A text and its class; a label that was a number in the file is its digits here."""

    text: str
    label: str
    line: int


class Span(msgspec.Struct, frozen=True):
    """A part of a text, from character `start` up to `end`, and what it is."""

    start: int
    end: int
    label: str


class Tagged(msgspec.Struct, frozen=True):
    """A text with the parts of it that are to be found, in their order, none over another."""

    text: str
    spans: tuple[Span, ...]
    line: int

    def found(self) -> str:
        """The spans as JSON, with their words."""
        return spans_json(self.text, self.spans)


class Completion(msgspec.Struct, frozen=True):
    """A prompt and what should follow; `also` holds other accepted answers."""

    prompt: str
    completion: str
    line: int
    also: tuple[str, ...] = ()


class Messages(msgspec.Struct, frozen=True):
    """A conversation that ends with, or holds, at least one turn of the assistant."""

    messages: Turns
    line: int
    tools: str | None = None

    def exchange(self) -> tuple[Turns, str]:
        """The turns before the last answer, and that answer."""
        last = max(i for i, turn in enumerate(self.messages) if turn.role == "assistant")
        answer = self.messages[last]
        return self.messages[:last], answer.content or answer.calls or ""


class Preference(msgspec.Struct, frozen=True):
    """A prompt with a better and a worse answer: all strings, or all turns of a conversation."""

    prompt: str | Turns
    chosen: str | Turns
    rejected: str | Turns
    line: int


class Ranking(msgspec.Struct, frozen=True):
    """A prompt with several answers; `ranking[i]` is the rank of `responses[i]`, 1 the best."""

    prompt: str
    responses: tuple[str, ...]
    ranking: tuple[int, ...]
    line: int


class Judged(msgspec.Struct, frozen=True):
    """A prompt with one answer that was found good or not (KTO)."""

    prompt: str
    completion: str
    good: bool
    line: int


Row: TypeAlias = Text | Labelled | Tagged | Completion | Messages | Preference | Ranking | Judged


def input_text(row: Row) -> str:
    """What a model is given of a row, as one string: the text that duplicates are judged by."""
    if isinstance(row, Text | Labelled | Tagged):
        return row.text
    if isinstance(row, Messages):
        return _spoken(row.exchange()[0])
    return row.prompt if isinstance(row.prompt, str) else _spoken(row.prompt)


def target_text(row: Row) -> str | None:
    """What a model should say to a row; None where there is nothing to say."""
    if isinstance(row, Labelled):
        return row.label
    if isinstance(row, Tagged):
        return row.found()
    if isinstance(row, Completion | Judged):
        return row.completion
    if isinstance(row, Messages):
        return row.exchange()[1]
    if isinstance(row, Preference):
        return row.chosen if isinstance(row.chosen, str) else _spoken(row.chosen)
    if isinstance(row, Ranking):
        return row.responses[row.ranking.index(min(row.ranking))]
    return None


def spans_json(text: str, spans: Iterable[Span]) -> str:
    """Spans as a JSON list of objects of label, text, start and end."""
    found = [
        {"label": one.label, "text": text[one.start : one.end], "start": one.start, "end": one.end}
        for one in spans
    ]
    return msgspec.json.encode(found).decode()


def _spoken(turns: Turns) -> str:
    return "\n".join(f"{turn.role}: {turn.content or turn.calls}" for turn in turns)
