"""A corpus: the texts of a folder or file, and what was left out, each with its reason."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.data.characters import whole_text
from backends.data.files import records
from knowledge.errors import UserError

TEXTS = (".txt", ".md", ".markdown", ".rst")
CORPORA = (".jsonl", ".ndjson")
LARGEST = 64 * 1024 * 1024  # bytes; a text larger than this is a dump to be cut first


class Document(msgspec.Struct, frozen=True):
    """A text with the path to cite it by, relative to the corpus; `path#id` in a JSONL corpus."""

    path: str
    text: str
    title: str | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A path that is not part of the corpus, and why."""

    path: str
    reason: str


def documents(source: str | Path) -> tuple[list[Document], list[Skipped]]:
    """The documents of a folder or of one file, in the order of their names, those of
    subfolders last.

    Text, Markdown and reStructuredText are one document a file; JSONL is one a row, with `text`
    and perhaps `id` and `title`.

    Raises:
        UserError: there is no such path, or no document in it.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"no folder or file {str(source)!r}; check the path")
    found: list[Document] = []
    skipped: list[Skipped] = []
    base = source if source.is_dir() else source.parent
    for path in _files(source, skipped):
        name = path.relative_to(base).as_posix()
        try:
            found.extend(_read(path, name))
        except UserError as error:
            skipped.append(Skipped(name, str(error)))
    if not found:
        reasons = "; ".join(f"{s.path}: {s.reason}" for s in skipped[:3]) or "it is empty"
        raise UserError(
            f"no document in {str(source)!r} ({reasons}); "
            f"give a folder with {' '.join((*TEXTS, *CORPORA))} files"
        )
    return found, skipped


def _files(source: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Regular files below a path, each folder and file once however many links lead there."""
    if not source.is_dir():
        yield source
        return
    top = source.stat()
    seen = {(top.st_dev, top.st_ino)}
    pending = [source]
    while pending:
        folder = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(folder.relative_to(source).as_posix(), str(error.strerror)))
            continue
        below: list[Path] = []
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(source).as_posix()
            reason = _reason_to_skip(path, seen)
            if reason is not None:
                skipped.append(Skipped(name, reason))
            elif path.is_dir():
                below.append(path)
            else:
                yield path
        pending.extend(reversed(below))


def _reason_to_skip(path: Path, seen: set[tuple[int, int]]) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    try:
        status = path.stat()
    except OSError as error:
        return "a link that leads nowhere" if path.is_symlink() else str(error.strerror)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return "not a regular file"
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return "reached already by another path"
    seen.add(identity)
    return None


def _read(path: Path, name: str) -> list[Document]:
    suffix = path.suffix.lower()
    if suffix not in (*TEXTS, *CORPORA):
        raise UserError(f"no text format here reads {suffix or 'a name without suffix'}")
    if path.stat().st_size > LARGEST:
        raise UserError(f"larger than {LARGEST // 2**20} MiB; cut it into parts")
    if suffix in CORPORA:
        return list(_rows(path, name))
    text = whole_text(path)
    if not text.strip():
        raise UserError("empty")
    return [Document(name, text, _title(text) if suffix != ".txt" else None)]


def _rows(path: Path, name: str) -> Iterator[Document]:
    for record in records(path):
        text = record.cells.get("text")
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{record.place} has no 'text'")
        title = record.cells.get("title")
        key = record.cells.get("id", record.cells.get("_id", record.row))
        yield Document(f"{name}#{key}", text, title if isinstance(title, str) else None)


def _title(text: str) -> str | None:
    """The first heading: a Markdown `#`, or a line underlined as reStructuredText does."""
    before = ""
    for line in text.splitlines()[:60]:
        if line.startswith("#") and line.lstrip("#").startswith(" "):
            return line.strip("# ") or None
        if len(line) > 2 and len(set(line.strip())) == 1 and line[0] in "=-~" and before.strip():
            return before.strip()
        before = line
    return None
