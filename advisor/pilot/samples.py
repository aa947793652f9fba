"""Parts of the user's examples as files: what a trial learns from, and what it is measured on."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backends import data
from backends.data import Completion, Judged, Row
from knowledge.errors import UserError
from knowledge.files import made_folder, write_text

HELD = 200  # rows measured on: a share of nine in ten is known to four points either way
HELD_SHARE = 0.2
FEWEST = 30  # rows; with fewer on either side a trial says nothing


class Samples(NamedTuple):
    """The rows to learn from and the file of those held back; test data are not among them."""

    keep: Sequence[Row]
    held: Path
    n_held: int
    folder: Path

    def train(self, rows: int) -> Path:
        """A file of so many of the rows, every label in its share; smaller ones lie in larger."""
        path = self.folder / f"train-{rows}.jsonl"
        if not path.is_file():
            _write(path, part(self.keep, rows))
        return path


def samples(file: str, folder: Path, seed: int = 13) -> Samples:
    """Hold back a part of a file of examples, the same every time.

    The parts lie in a folder named after the file's content: a changed file has its own.

    Raises:
        UserError: there are too few examples to learn something and to measure it.
    """
    rows = data.read(file).rows
    if len(rows) < 2 * FEWEST:
        raise UserError(
            f"{file!r} holds {len(rows)} examples; a pilot needs at least {2 * FEWEST}, "
            f"half of them to measure on"
        )
    share = max(FEWEST / len(rows), min(HELD_SHARE, HELD / len(rows)))
    keep, held = data.split(rows, share, seed)
    with Path(file).open("rb") as content:
        folder = made_folder(folder / hashlib.file_digest(content, "sha256").hexdigest()[:8])
    path = folder / f"held-{len(held)}.jsonl"
    if not path.is_file():
        _write(path, held)
    return Samples(keep, path, len(held), folder)


def part(rows: Sequence[Row], count: int, seed: int = 13) -> Sequence[Row]:
    """About so many of the rows, every label in its share; a smaller part lies in a larger one."""
    if count >= len(rows):
        return rows
    kept, _ = data.split(rows, 1 - count / len(rows), seed)
    return kept


def record(row: Row) -> dict[str, Any]:
    """A row as a line of JSON that is read back as the same row."""
    plain: dict[str, Any] = msgspec.to_builtins(row)
    del plain["line"]
    if isinstance(row, Judged):
        plain["label"] = plain.pop("good")
    if isinstance(row, Completion) and row.also:
        plain["completion"] = [row.completion, *plain.pop("also")]
    return {key: value for key, value in plain.items() if value not in (None, [], ())}


def _write(path: Path, rows: Sequence[Row]) -> None:
    lines = (msgspec.json.encode(record(row)).decode() for row in rows)
    write_text(path, "\n".join(lines) + "\n")
