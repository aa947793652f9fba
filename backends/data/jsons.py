"""A JSON file read element by element, so that each knows its line."""

import json
import re
from collections.abc import Iterator
from typing import Any

from knowledge.errors import UserError

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


class _Reader:
    """A place in a JSON text that moves forward, counting lines as it goes."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.at = 0
        self.line = 1
        self._counted = 0
        self.skip_space()

    def skip_space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at
        self.line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at

    def next_character(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> None:
        if self.next_character() != character:
            raise self.broken(f"expected {character!r}")
        self.at += 1
        self.skip_space()

    def value(self) -> Any:
        """The value that begins here."""
        try:
            found, self.at = _DECODER.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.line = error.lineno
            raise self.broken(f"{error.msg}, column {error.colno}") from None
        except RecursionError:
            raise self.broken("nested too deeply") from None
        self.skip_space()
        return found

    def broken(self, what: str) -> UserError:
        seen = self.text[self.at : self.at + 30]
        return UserError(
            f"{self.name}, line {self.line}: broken JSON ({what}) at {seen!r}; "
            f"a .json file is one list of objects"
        )


def elements(name: str, text: str) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON text with their lines: of a list, of an object's only list, or of
    objects standing one after another.

    Raises:
        UserError: the text is not JSON (the line is named), or holds no list or several.
    """
    reader = _Reader(name, text)
    if reader.next_character() == "[":
        yield from _items(reader)
        _at_end(reader)
        return
    line, first = reader.line, reader.value()
    if reader.at < len(text):
        yield line, first
        yield from _one_after_another(reader)
        return
    lists = [key for key, value in first.items() if _is_rows(value)] if _is_map(first) else []
    if len(lists) != 1:
        raise UserError(
            f"{name} holds {_described(first, lists)}; give a list of objects, "
            f"or an object with one such list"
        )
    yield from _items_of_key(_Reader(name, text), lists[0])


def _items(reader: _Reader) -> Iterator[tuple[int, Any]]:
    reader.take("[")
    while reader.next_character() != "]":
        line = reader.line
        yield line, reader.value()
        if reader.next_character() != "]":
            reader.take(",")
    reader.take("]")


def _items_of_key(reader: _Reader, wanted: str) -> Iterator[tuple[int, Any]]:
    reader.take("{")
    while reader.value() != wanted:
        reader.take(":")
        reader.value()
        reader.take(",")
    reader.take(":")
    yield from _items(reader)


def _one_after_another(reader: _Reader) -> Iterator[tuple[int, Any]]:
    while reader.at < len(reader.text):
        line = reader.line
        yield line, reader.value()


def _at_end(reader: _Reader) -> None:
    if reader.at < len(reader.text):
        raise reader.broken("something follows the list")


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _described(value: Any, lists: list[str]) -> str:
    if not _is_map(value):
        return f"one {type(value).__name__}"
    if lists:
        return f"{len(lists)} lists of objects ({', '.join(map(repr, lists[:4]))})"
    return f"one object with keys {', '.join(map(repr, list(value)[:5]))} and no list of objects"
