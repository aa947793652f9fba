"""How well structured answers agree with accepted ones: the whole, and field by field."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec


def same_structure(answer: str | None, accepted: Sequence[str]) -> bool:
    """Whether two JSON texts say the same, whatever the order of keys and the white space."""
    value = _value(answer)
    return value is not None and any(value[0] == other[0] for other in _values(accepted))


def field_f1(answer: str | None, accepted: Sequence[str]) -> float:
    """The F1 of fields (path and value) with the accepted JSON that suits best, 0 to 1.

    Items of a list count by value, not by place.
    """
    value = _value(answer)
    if value is None:
        return 0.0
    fields = Counter(_fields(value[0]))
    return max(
        (_f1(fields, Counter(_fields(other[0]))) for other in _values(accepted)), default=0.0
    )


def _values(texts: Sequence[str]) -> Iterator[tuple[Any]]:
    for text in texts:
        value = _value(text)
        if value is not None:
            yield value


def _value(text: str | None) -> tuple[Any] | None:
    """The value of a JSON text, in a tuple since it may be None itself."""
    if text is None:
        return None
    try:
        return (msgspec.json.decode(text),)
    except (msgspec.DecodeError, RecursionError):
        return None


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, f"{path}[]")
    else:
        yield path, repr(value)


def _f1(one: Counter[tuple[str, str]], other: Counter[tuple[str, str]]) -> float:
    total = one.total() + other.total()
    return 1.0 if not total else 2 * (one & other).total() / total
