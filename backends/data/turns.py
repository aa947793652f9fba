"""Turns of conversations as OpenAI, ShareGPT and their relatives write them."""

import json
from typing import Any

from backends.data.names import ROLES
from backends.data.rows import Message, Turns


class BadCell(Exception):  # noqa: N818 (becomes a Fault where the column is known)
    """A value that cannot be used; the text completes 'column x ...'."""


def plain_text(value: Any) -> str:
    """A value that must be text.

    Raises:
        BadCell: it is something else, or text that no UTF-8 file can hold.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return message(value[0]).content
    if not isinstance(value, str):
        raise BadCell(f"is {_kind(value)} {str(value)[:30]!r} where text is needed")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadCell(f"holds half of a surrogate pair at character {error.start}") from None
    return value


def prompt_side(value: Any) -> str | Turns:
    """A side of a preference: text, one message, or messages."""
    if isinstance(value, str):
        return plain_text(value)
    return (message(value),) if isinstance(value, dict) else turns(value)


def turns(value: Any) -> Turns:
    """The turns of a conversation; a CSV cell may hold them as JSON.

    Raises:
        BadCell: no list, no turns, or a turn that is none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise BadCell("is text where a list of messages is needed") from None
    if not isinstance(value, list):
        raise BadCell(f"is {_kind(value)} where a list of messages is needed")
    if not value:
        raise BadCell("is an empty list of messages")
    return tuple(message(turn) for turn in value)


def message(turn: Any) -> Message:
    """One turn: `role` and `content`, or `from` and `value`.

    Raises:
        BadCell: the speaker or the text is missing or of an unknown kind.
    """
    if not isinstance(turn, dict):
        raise BadCell(f"holds {_kind(turn)} where a message is needed")
    speaker = turn.get("role", turn.get("from"))
    role = ROLES.get(str(speaker).lower())
    if role is None:
        raise BadCell(f"has the speaker {speaker!r}; known: {', '.join(ROLES)}")
    content = _content(turn.get("content", turn.get("value")))
    if str(speaker).lower() == "function_call":
        return Message(role, "", calls=content)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if not content.strip() and not calls and role != "tool":
        raise BadCell(f"has a {role} message without text")
    return Message(role, content, json.dumps(calls, ensure_ascii=False) if calls else None)


def _content(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [part for part in value if isinstance(part, dict)]
        if len(parts) != len(value) or any(part.get("type") != "text" for part in parts):
            raise BadCell("has a message with parts that are not text")
        return "".join(plain_text(part.get("text")) for part in parts)
    return plain_text(value)


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, dict) else "nothing")
