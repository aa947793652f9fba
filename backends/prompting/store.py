"""Every attempt and every answer, in a sqlite file before it counts.

A run that is killed finds here what it has paid for: answers are never asked for again, and
attempts whose outcome is unknown stay booked at their worst case. The same file, without
attempts, is the cache that runs share: the key there holds the provider too.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from backends.prompting.exchange import Reply
from knowledge.errors import UserError

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, reply BLOB NOT NULL, usd REAL, cached INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, worst REAL, usd REAL, reason TEXT
);
CREATE TABLE IF NOT EXISTS parts (seconds REAL NOT NULL);
"""
CHECKPOINT_PAGES = 8000  # of 4 KiB; each checkpoint waits for the disk, and all requests with it
KILLED = "the process ended before the answer came"
WRITTEN_TOGETHER = 64
_REPLY = msgspec.json.Decoder(Reply)


class Totals(msgspec.Struct, frozen=True):
    """What a run's answers add up to; `seconds` are the latencies, sorted."""

    answers: int
    input: int
    output: int
    cached: int
    without_usage: int
    seconds: tuple[float, ...]


class Store:
    """The attempts and answers of a step; without a path they are kept in memory only.

    `spent` includes what attempts may have cost whose answer never came (`unsure` of it);
    `interrupted` counts the attempts that were in flight when an earlier process ended.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        with self._told():
            self._db = sqlite3.connect(
                str(path) if path is not None else ":memory:", isolation_level=None
            )
            # Written through to the system at each commit: it outlives the process, and at a
            # power cut the file is whole.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._db.executescript(SCHEMA)
            killed = "UPDATE attempts SET usd = ifnull(worst, 0), reason = ? WHERE usd IS NULL"
            self._db.execute(killed, (KILLED,))
            self.interrupted = self._one("SELECT count(*) FROM attempts WHERE reason = ?", KILLED)
            self.attempts: int = self._one("SELECT count(*) FROM attempts")
            self.spent: float = self._one("SELECT total(usd) FROM attempts")
            self.unsure: float = self._one(
                "SELECT total(usd) FROM attempts WHERE reason IS NOT NULL"
            )

    def answer(self, key: str) -> Reply | None:
        """The answer kept for a key."""
        with self._told():
            row = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else _REPLY.decode(row[0])

    def sent(self, key: str, worst: float | None) -> int:
        """Note that an attempt is about to be sent, and give it its number."""
        with self._told():
            number = self._db.execute(
                "INSERT INTO attempts (key, worst) VALUES (?, ?)", (key, worst)
            ).lastrowid
        self.attempts += 1
        assert number is not None  # an INSERT has one
        return number

    def lost(self, number: int, reason: str, usd: float) -> None:
        """Note that an attempt brought no answer, and what it may have cost all the same."""
        with self._told():
            self._db.execute(
                "UPDATE attempts SET usd = ?, reason = ? WHERE id = ?", (usd, reason, number)
            )
        self.spent += usd
        self.unsure += usd

    def book(self, number: int, usd: float) -> None:
        """Correct what an attempt cost, once it is known."""
        with self._told():
            before, reason = self._db.execute(
                "SELECT ifnull(usd, 0), reason FROM attempts WHERE id = ?", (number,)
            ).fetchone()
            self._db.execute(
                "UPDATE attempts SET usd = ?, reason = NULL WHERE id = ?", (usd, number)
            )
        self.spent += usd - before
        if reason is not None:
            self.unsure -= before
            self.interrupted -= reason == KILLED

    def answered(self, number: int, key: str, reply: Reply, usd: float | None) -> None:
        """Keep the answer that an attempt brought; `usd` is None where the price is unknown."""
        with self._told():
            self._db.execute("BEGIN")
            self._db.execute("UPDATE attempts SET usd = ? WHERE id = ?", (usd or 0.0, number))
            self._keep(key, reply, usd, cached=False)
            self._db.execute("COMMIT")
        self.spent += usd or 0.0

    def adopt(self, known: Iterable[tuple[str, Reply]]) -> None:
        """Keep answers that cost nothing, since they were known before."""
        with self._told():
            self._db.execute("BEGIN")
            for key, reply in known:
                self._keep(key, reply, 0.0, cached=True)
            self._db.execute("COMMIT")

    def worked(self, seconds: float) -> None:
        """Note how long one process worked on the step."""
        with self._told():
            self._db.execute("INSERT INTO parts VALUES (?)", (seconds,))

    @property
    def seconds(self) -> float:
        """How long all processes together worked on the step."""
        with self._told():
            return float(self._one("SELECT total(seconds) FROM parts"))

    @property
    def any_answer(self) -> bool:
        """Whether anything was ever answered."""
        with self._told():
            return bool(self._one("SELECT EXISTS (SELECT 1 FROM answers WHERE NOT cached)"))

    @property
    def from_cache(self) -> int:
        """How many answers were known before."""
        with self._told():
            return int(self._one("SELECT count(*) FROM answers WHERE cached"))

    def totals(self) -> Totals:
        """What the answers that were asked for add up to."""
        count = input_tokens = output_tokens = cached = without = 0
        seconds = []
        with self._told():
            for (raw,) in self._db.execute("SELECT reply FROM answers WHERE NOT cached"):
                reply = _REPLY.decode(raw)
                count += 1
                seconds.append(reply.seconds)
                if reply.usage is None:
                    without += 1
                    continue
                input_tokens += reply.usage.input
                output_tokens += reply.usage.output
                cached += reply.usage.cached
        latencies = tuple(sorted(seconds))
        return Totals(count, input_tokens, output_tokens, cached, without, latencies)

    def forget(self) -> None:
        """Drop the answers: they were handed on and will not be asked for."""
        with self._told():
            self._db.execute("DELETE FROM answers")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _keep(self, key: str, reply: Reply, usd: float | None, *, cached: bool) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
            (key, msgspec.json.encode(reply), usd, cached),
        )

    def _one(self, question: str, *values: object) -> int:
        number: int = self._db.execute(question, values).fetchone()[0]
        return number

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what a disk can do to a file into one line for the user."""
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"cannot keep answers in {str(self._path)!r}: {error}; what was kept is kept, "
                f"go on with --resume"
            ) from None


class Cache:
    """The answers of all runs of this user, by provider and content.

    Written some answers at a time: the run's own store has each at once.
    """

    def __init__(self, provider: str, path: Path) -> None:
        self._provider = provider
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot make the cache {str(path)!r}: {error.strerror}; set ADVISOR_CACHE to "
                f"another file, or the step's setting cache to false"
            ) from None
        self._store = Store(path)
        self._new: dict[str, Reply] = {}

    def answer(self, key: str) -> Reply | None:
        """The answer that any run got from this provider for a request."""
        return self._store.answer(self._key(key))

    def keep(self, key: str, reply: Reply) -> None:
        """Keep an answer for other runs."""
        self._new[self._key(key)] = reply
        if len(self._new) >= WRITTEN_TOGETHER:
            self._write()

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self._write()
        self._store.close()

    def _write(self) -> None:
        self._store.adopt(self._new.items())
        self._new.clear()

    def _key(self, key: str) -> str:
        return sha256(f"{self._provider}\n{key}".encode()).hexdigest()


def cache_file() -> Path:
    """Where the cache lies: ADVISOR_CACHE, or the user's cache folder."""
    named = os.environ.get("ADVISOR_CACHE", "").strip()
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(base).expanduser() / "llm-advisor" / "answers.sqlite"
