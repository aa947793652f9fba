"""The rules' sentences with the user's own figures in them."""

from collections.abc import Mapping
from string import Formatter
from typing import Any

UNKNOWN = "not answered"
SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def said(sentence: str, facts: Mapping[str, Any]) -> str:
    """The sentence with the facts that it names; one that is not known is called unanswered."""
    parts = []
    for text, name, _, _ in Formatter().parse(sentence):
        parts.append(text)
        if name:
            parts.append(plain(facts[name]) if facts.get(name) is not None else UNKNOWN)
    whole = "".join(parts)
    return whole[:1].upper() + whole[1:]


def plain(value: Any) -> str:
    """A value as people write it: 4,112; 1.3 million; yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        for size, word in SCALES:
            if abs(value) >= size:
                return f"{value / size:.3g} {word}"
        return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"
    return str(value)


def listed(stack: tuple[str, ...]) -> str:
    """A stack in words: rag with prompt."""
    return " with ".join((stack[0], " and ".join(stack[1:]))) if stack[1:] else stack[0]
