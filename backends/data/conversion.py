"""Raw cells into rows, one function a shape; what is wrong with a cell is said as a `Fault`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from backends.data.files import Record
from backends.data.rows import (
    Completion,
    Judged,
    Labelled,
    Message,
    Messages,
    Preference,
    Ranking,
    Row,
    Tagged,
    Text,
    Turns,
)
from backends.data.tags import of_tags, of_values
from backends.data.turns import BadCell, plain_text, prompt_side, turns

Columns = Mapping[str, str]


class Fault(Exception):  # noqa: N818 (collected and told together, not one at a time)
    """What is wrong with one cell: the column and a phrase such as 'is empty'."""

    def __init__(self, column: str, what: str) -> None:
        super().__init__(column, what)
        self.column = column
        self.what = what


def converted(shape: str, record: Record, columns: Columns) -> Iterator[Row]:
    """The rows of a record: one, or for Self-Instruct one an instance.

    Raises:
        Fault: a cell cannot be used.
    """
    cells = _Cells(record, columns)
    yield from _CONVERSIONS[shape](cells)


class _Cells:
    """The cells of a record by role."""

    def __init__(self, record: Record, columns: Columns) -> None:
        self.line = record.line
        self._cells = record.cells
        self._columns = columns

    def raw(self, role: str) -> Any:
        """The value of a role; None where the file has no such column or an empty cell."""
        column = self._columns.get(role)
        return None if column is None else self._cells.get(column)

    def fault(self, role: str, what: str) -> NoReturn:
        raise Fault(self._columns.get(role, role), what)

    def read(self, role: str, reader: Callable[[Any], Any]) -> Any:
        """The value of a role through a reader that may refuse it."""
        value = self.raw(role)
        if value is None:
            self.fault(role, "is missing")
        try:
            return reader(value)
        except BadCell as bad:
            self.fault(role, str(bad))

    def text(self, role: str) -> str:
        """The text of a role, which must not be empty."""
        value: str = self.read(role, plain_text)
        if not value.strip():
            self.fault(role, "is empty")
        return value

    def text_or_nothing(self, role: str) -> str:
        value = self.raw(role)
        return "" if value in (None, "") else str(self.read(role, plain_text))


def _text(cells: _Cells) -> Iterator[Row]:
    yield Text(cells.text("text"), cells.line)


def _labelled(cells: _Cells) -> Iterator[Row]:
    yield Labelled(cells.text("text"), cells.read("label", _label), cells.line)


def _tagged(cells: _Cells) -> Iterator[Row]:
    tokens = cells.read("tokens", _words)
    text, spans = cells.read("tags", lambda tags: of_tags(tokens, tags))
    yield Tagged(text, spans, cells.line)


def _spans(cells: _Cells) -> Iterator[Row]:
    text = cells.text("text")
    yield Tagged(text, cells.read("spans", lambda value: of_values(text, value)), cells.line)


def _words(value: Any) -> list[str]:
    """The words of a list, or of a text with spaces between them."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadCell("is no list of words")
    if not words:
        raise BadCell("is empty")
    return words


def _label(value: Any) -> str:
    if isinstance(value, list | tuple):
        raise BadCell("is a list; one label a row is needed")
    if isinstance(value, dict):
        raise BadCell("is an object; one label a row is needed")
    if isinstance(value, float):
        if value != value:
            raise BadCell("is missing")
        if not value.is_integer():
            raise BadCell(f"is the number {value}; a label is a word or a whole number")
        value = int(value)
    label = str(value).strip() if not isinstance(value, bool) else str(value).lower()
    if not label:
        raise BadCell("is missing")
    return label


def _completion(cells: _Cells) -> Iterator[Row]:
    answers = cells.raw("completion")
    if isinstance(answers, list) and answers and all(isinstance(a, str) for a in answers):
        kept = tuple(answer for answer in answers if answer.strip())
        if not kept:
            cells.fault("completion", "is empty")
        yield Completion(cells.text("prompt"), kept[0], cells.line, kept[1:])
        return
    yield Completion(cells.text("prompt"), cells.text("completion"), cells.line)


def _messages(cells: _Cells) -> Iterator[Row]:
    spoken: Turns = cells.read("messages", turns)
    system = cells.text_or_nothing("system")
    if system and spoken[0].role != "system":
        spoken = (Message("system", system), *spoken)
    if not any(turn.role == "assistant" for turn in spoken):
        cells.fault("messages", "has no turn of the assistant")
    yield Messages(spoken, cells.line, cells.text_or_nothing("tools") or None)


def _alpaca(cells: _Cells) -> Iterator[Row]:
    instruction = cells.text("instruction")
    yield _exchange(cells, instruction, cells.text_or_nothing("input"), cells.text("output"))


def _instances(cells: _Cells) -> Iterator[Row]:
    instruction = cells.text("instruction")
    instances = cells.raw("instances")
    if not isinstance(instances, list) or not instances:
        cells.fault("instances", "is no list of instances")
    for instance in instances:
        if not isinstance(instance, dict) or not str(instance.get("output") or "").strip():
            cells.fault("instances", "has an instance without output")
        yield _exchange(cells, instruction, str(instance.get("input") or ""), instance["output"])


def _exchange(cells: _Cells, instruction: str, given: str, output: str) -> Messages:
    """One exchange of Alpaca; earlier pairs and the system text come before it."""
    spoken = [Message("system", cells.text_or_nothing("system"))] if cells.raw("system") else []
    for pair in cells.raw("history") or ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            cells.fault("history", "is no list of pairs of instruction and answer")
        spoken += [Message("user", str(pair[0])), Message("assistant", str(pair[1]))]
    asked = f"{instruction}\n{given}" if given.strip() else instruction
    return Messages(
        (*spoken, Message("user", asked), Message("assistant", str(output))), cells.line
    )


def _preference(cells: _Cells) -> Iterator[Row]:
    chosen = cells.read("chosen", prompt_side)
    rejected = cells.read("rejected", prompt_side)
    prompt = cells.raw("prompt")
    if isinstance(chosen, str) != isinstance(rejected, str):
        cells.fault("rejected", "is of another kind than 'chosen' (text against messages)")
    if isinstance(chosen, str):
        given = cells.text_or_nothing("input") if prompt is not cells.raw("input") else ""
        asked = cells.text("prompt") + (f"\n{given}" if given.strip() else "")
        yield Preference(asked, chosen, rejected, cells.line)
        return
    if prompt is None:
        before = _shared(chosen, rejected)
        if not 0 < before < min(len(chosen), len(rejected)):
            cells.fault("prompt", "is missing, and the two answers share no beginning")
        yield Preference(chosen[:before], chosen[before:], rejected[before:], cells.line)
        return
    asked_turns: Turns | str = cells.read("prompt", prompt_side)
    if isinstance(asked_turns, str):
        asked_turns = (Message("user", asked_turns),)
    if system := cells.text_or_nothing("system"):
        asked_turns = (Message("system", system), *asked_turns)
    yield Preference(
        asked_turns, _after(asked_turns, chosen), _after(asked_turns, rejected), cells.line
    )


def _shared(one: Turns, other: Turns) -> int:
    """How many turns two conversations have in common from their beginning."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _after(prompt: Turns, answer: Turns) -> Turns:
    """The answer without the prompt, which some files repeat in front of it."""
    return answer[len(prompt) :] if answer[: len(prompt)] == prompt else answer


def _ranking(cells: _Cells) -> Iterator[Row]:
    responses = cells.raw("responses")
    if not isinstance(responses, list) or len(responses) < 2:
        cells.fault("responses", "is no list of two or more answers")
    ranking = cells.raw("ranking")
    whole = isinstance(ranking, list) and all(type(rank) is int for rank in ranking)
    if not whole or len(ranking) != len(responses):
        cells.fault("ranking", f"is no list of {len(responses)} whole numbers")
    answers = tuple(cells.read("responses", lambda many: [plain_text(one) for one in many]))
    yield Ranking(cells.text("prompt"), answers, tuple(ranking), cells.line)


def _judged(cells: _Cells) -> Iterator[Row]:
    good = str(cells.raw("good")).lower()
    if good not in ("true", "false", "1", "0"):
        cells.fault("good", f"is {good[:20]!r}; true or false is needed")
    yield Judged(cells.text("prompt"), cells.text("completion"), good in ("true", "1"), cells.line)


_CONVERSIONS: dict[str, Callable[[_Cells], Iterator[Row]]] = {
    "text": _text,
    "labelled": _labelled,
    "tagged": _tagged,
    "spans": _spans,
    "completion": _completion,
    "messages": _messages,
    "conversations": _messages,
    "alpaca": _alpaca,
    "instances": _instances,
    "preference": _preference,
    "ranking": _ranking,
    "kto": _judged,
}
