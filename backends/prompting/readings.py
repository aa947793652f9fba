"""What an answer means: a label, JSON under a schema, a text that matches, or what is wrong."""

import re
from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema
import msgspec
import regex

from backends.prompting.labels import label_said, without_thought
from backends.prompting.prompts import Prompt
from knowledge.errors import UserError

LONGEST_MATCH = 1.0  # seconds; some expressions take forever on some texts
_FENCE = re.compile(r"```[\w-]*\n(.*?)```", re.DOTALL)
_FINAL = re.compile(r"^\W*(?:final )?answer\W*?:\s*(.*)", re.IGNORECASE | re.MULTILINE | re.DOTALL)


class Reading(NamedTuple):
    """The value that an answer gives, or the fault for which it gives none."""

    value: str | None
    fault: str | None = None


def reading(answer: str, prompt: Prompt) -> Reading:
    """What an answer means under what the prompt asks for."""
    said = without_thought(answer)
    if prompt.reasoning:
        found = _final(said)
        if found is None:
            return Reading(None, "no line begins with 'Answer:'")
        said = found
    if not said:
        return Reading(None, "the answer is empty")
    if prompt.labels:
        label = label_said(said, prompt.labels)
        return Reading(label, None if label else "the answer is outside the label set")
    if prompt.schema is not None:
        return _json(said, prompt.schema)
    if prompt.pattern is not None:
        return _matching(said, prompt.pattern)
    return Reading(said)


def formed(prompt: Prompt) -> bool:
    """Whether an answer has a form that it can miss."""
    return bool(prompt.labels or prompt.schema is not None or prompt.pattern or prompt.reasoning)


def repair(fault: str, prompt: Prompt) -> str:
    """The message that asks once more after a fault."""
    if prompt.labels and not prompt.reasoning:
        names = ", ".join(prompt.labels)
        return (
            f"That is not one of the labels. Answer with exactly one of these and nothing "
            f"else: {names}"
        )
    wanted = {
        "labels": f"one of the labels {', '.join(prompt.labels)}" if prompt.labels else "",
        "schema": "JSON alone, valid under the schema" if prompt.schema is not None else "",
        "pattern": f"a text that matches {prompt.pattern}" if prompt.pattern else "",
    }
    what = next((text for text in wanted.values() if text), "the answer")
    ending = " on a last line that begins with 'Answer:'" if prompt.reasoning else ""
    return f"That cannot be used: {fault}. Answer again: {what}{ending}."


def check(prompt: Prompt) -> None:
    """Look at schema and expression.

    Raises:
        UserError: one of them is broken, or two kinds of answer are asked for.
    """
    kinds = [name for name in ("labels", "schema", "pattern") if getattr(prompt, name)]
    if len(kinds) > 1:
        raise UserError(f"an answer has one form; set only one of {' and '.join(kinds)}")
    if prompt.schema is not None:
        try:
            jsonschema.validators.validator_for(prompt.schema).check_schema(prompt.schema)
        except jsonschema.SchemaError as error:
            raise UserError(f"schema: {_line(error.message)}") from None
        if "$ref" in str(prompt.schema) and "http" in str(prompt.schema.get("$ref", "")):
            raise UserError("schema: references to other files are not followed; write them in")
    if prompt.pattern is not None:
        try:
            regex.compile(prompt.pattern)
        except regex.error as error:
            raise UserError(f"pattern {prompt.pattern!r}: {error}") from None


def _final(said: str) -> str | None:
    """What follows the last 'Answer:' at the head of a line."""
    starts = list(re.finditer(r"^\W*(?:final )?answer\W*?:", said, re.IGNORECASE | re.MULTILINE))
    if not starts:
        return None
    found = _FINAL.match(said, starts[-1].start())
    return found[1].strip(" *\n\t`") if found is not None else None


def _json(said: str, schema: dict[str, Any]) -> Reading:
    fenced = _FENCE.search(said)
    text = fenced[1].strip() if fenced is not None else said
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        return Reading(None, f"the answer is no JSON ({_line(str(error))})")
    invalid = next(iter(_validator(msgspec.json.encode(schema)).iter_errors(value)), None)
    if invalid is not None:
        where = "/".join(str(step) for step in invalid.absolute_path)
        return Reading(None, _line(f"{where + ': ' if where else ''}{invalid.message}"))
    return Reading(msgspec.json.encode(value, order="sorted").decode())


@lru_cache(maxsize=16)
def _validator(schema: bytes) -> Any:
    content = msgspec.json.decode(schema)
    return jsonschema.validators.validator_for(content)(content)


def _matching(said: str, pattern: str) -> Reading:
    try:
        matched = regex.fullmatch(pattern, said, timeout=LONGEST_MATCH)
    except TimeoutError:
        return Reading(None, f"matching took longer than {LONGEST_MATCH:g} s")
    return Reading(said) if matched else Reading(None, f"the answer does not match {pattern}")


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
