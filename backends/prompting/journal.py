"""Every attempt and every answer, appended to a file before it counts.

A run that is killed finds here what it has paid for: answers are never asked for again, and
attempts whose outcome is unknown stay booked at their worst case.
"""

from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from backends.prompting.endpoint import Reply


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """An attempt is about to be sent; it may cost so much (None: unknown)."""

    key: str
    worst_usd: float | None


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """An attempt brought no answer; `usd` is what it may have cost all the same."""

    key: str
    reason: str
    usd: float


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """An attempt brought an answer; `usd` is None where the price is unknown."""

    key: str
    reply: Reply
    usd: float | None


class Part(msgspec.Struct, frozen=True, tag="part"):
    """One process worked for so long on the step."""

    seconds: float


Entry: TypeAlias = Sent | Lost | Answered | Part


class Journal:
    """The entries of a step; without a path they are kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self.answers: dict[str, Answered] = {}
        self.spent = 0.0
        self.unsure = 0.0
        self.seconds = 0.0
        self.attempts = 0
        self._open: dict[str, list[float]] = {}
        self._file: BinaryIO | None = None
        if path is not None:
            self._restore(path)
            self._file = path.open("ab")

    def append(self, entry: Entry) -> None:
        """Write an entry out, then count it."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(entry) + b"\n")
            self._file.flush()
        self._count(entry)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _restore(self, path: Path) -> None:
        """Count the entries of an earlier process; a last line cut by a kill is dropped."""
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("rb+") as file:
                file.truncate(whole)
        for line in content[:whole].splitlines():
            self._count(msgspec.json.decode(line, type=Entry))
        for worst in (usd for attempts in self._open.values() for usd in attempts):
            self.spent += worst
            self.unsure += worst
        self._open.clear()

    def _count(self, entry: Entry) -> None:
        if isinstance(entry, Part):
            self.seconds += entry.seconds
        elif isinstance(entry, Sent):
            self.attempts += 1
            self._open.setdefault(entry.key, []).append(entry.worst_usd or 0.0)
        else:
            attempts = self._open.get(entry.key)
            if attempts:
                attempts.pop()
            self.spent += entry.usd or 0.0
            if isinstance(entry, Answered):
                self.answers[entry.key] = entry
            else:
                self.unsure += entry.usd
