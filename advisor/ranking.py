"""Collecting rankings from a person: a prompt, its answers, an order such as `C>B=D>A`.

Each order is saved before the next prompt is shown, so nothing is lost, and a file that holds
some already is gone on with.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from advisor.questionnaire.talk import Io
from backends.data.rankings import LETTERS, places
from knowledge.errors import UserError

HELP = (
    "Type the best first: C>B=D>A says that C is best, B and D are as good as each other, and A "
    "is worst. s skips a prompt, q stops; every order is saved at once."
)


class Candidates(NamedTuple):
    """A prompt and the answers to compare; without any, they are to be sampled."""

    prompt: str
    responses: tuple[str, ...]


class Collected(msgspec.Struct, frozen=True):
    """What came of it: orders in the file now, prompts skipped, and prompts that are left."""

    out: str
    ranked: int
    skipped: int
    left: int


def read(path: Path) -> list[Candidates]:
    """The prompts of a file: JSONL with `prompt` and perhaps `responses`, or one prompt a line.

    Raises:
        UserError: unreadable, no prompt, or a row without one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    found = [
        _row(line, f"{path.name}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not found:
        raise UserError(f"{str(path)!r} holds no prompt; give one a line, or JSONL with 'prompt'")
    return found


def done(out: Path, annotator: str | None) -> set[str]:
    """The prompts that a file of rankings holds already, of one annotator."""
    if not out.is_file():
        return set()
    found = set()
    for number, line in enumerate(out.read_bytes().splitlines(), start=1):
        try:
            row = msgspec.json.decode(line)
            if row.get("annotator") == annotator:
                found.add(row["prompt"])
        except (msgspec.DecodeError, AttributeError, KeyError, TypeError):
            raise UserError(
                f"{str(out)!r}, line {number} is no ranking; mend or remove it, or give another "
                "--out"
            ) from None
    return found


def collect(
    asked: Iterable[Candidates], out: Path, annotator: str | None, io: Io, total: int
) -> Iterator[bool]:
    """Ask for the order of each prompt's answers; whether it was given, one after the other.

    It ends where the person stops.

    Args:
        total: prompts that there are, to be shown.
    """
    io.say(HELP)
    for number, one in enumerate(asked, start=1):
        told = _asked(one, number, total, io)
        if told is None:
            return
        if told:
            row = {"prompt": one.prompt, "responses": one.responses, "ranking": told}
            _append(out, row | ({} if annotator is None else {"annotator": annotator}))
        yield bool(told)


def _asked(one: Candidates, number: int, total: int, io: Io) -> list[int] | None:
    """The ranks of the answers; none for a skipped prompt, None where the person stops."""
    io.say(f"\n[{number} of {total}] {one.prompt}")
    for letter, response in zip(LETTERS, one.responses, strict=False):
        io.say(f"  {letter}: {response}")
    while True:
        try:
            said = io.read("order: ").strip()
        except (EOFError, KeyboardInterrupt):
            return None
        if said.lower() in ("q", "s"):
            return None if said.lower() == "q" else []
        try:
            ranks = list(places(said, len(one.responses)))
        except ValueError as error:
            io.say(f"the ranking {error}; such as {_example(one.responses)}, or s to skip")
            continue
        if len(set(ranks)) > 1:
            return ranks
        io.say("all answers tied say nothing about what is better; s skips the prompt")


def _example(responses: Sequence[str]) -> str:
    return ">".join(LETTERS[: len(responses)])


def _append(out: Path, row: object) -> None:
    """One line more, on the disk before the next prompt is shown; a torn last line is ended."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("ab+") as lines:
            if lines.tell() and not _ends_whole(out):
                lines.write(b"\n")
            lines.write(msgspec.json.encode(row) + b"\n")
            lines.flush()
            os.fsync(lines.fileno())
    except OSError as error:
        raise UserError(
            f"cannot write {str(out)!r}: {error.strerror}; the orders before it are kept; free "
            "some space and go on with the same command"
        ) from None


def _ends_whole(out: Path) -> bool:
    with out.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _row(line: str, where: str) -> Candidates:
    if not line.lstrip().startswith("{"):
        return Candidates(line.strip(), ())
    try:
        row = msgspec.json.decode(line)
        prompt, responses = row["prompt"], row.get("responses") or ()
    except (msgspec.DecodeError, KeyError):
        raise UserError(f"{where}: no JSON object with 'prompt'") from None
    if not isinstance(prompt, str) or not all(isinstance(one, str) for one in responses):
        raise UserError(f"{where}: 'prompt' must be a text and 'responses' a list of texts")
    if responses and not 2 <= len(responses) <= len(LETTERS):
        raise UserError(f"{where}: {len(responses)} responses; 2 to {len(LETTERS)} can be ranked")
    return Candidates(prompt, tuple(responses))
