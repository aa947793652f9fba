"""A corpus: the texts of a folder or file, and what was left out, each with its reason."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.data.formats import READERS, Document, read
from knowledge.errors import UserError

LARGEST = 64 * 1024 * 1024  # bytes; a text larger than this is a dump to be cut first


class Skipped(msgspec.Struct, frozen=True):
    """A path that is not part of the corpus, and why."""

    path: str
    reason: str


class File(msgspec.Struct, frozen=True):
    """A file of a corpus, and the name it is cited by."""

    path: Path
    name: str


def documents(source: str | Path) -> tuple[list[Document], list[Skipped]]:
    """The documents of a folder or of one file, in the order of their names, those of
    subfolders last.

    Text, Markdown, code, HTML, PDF, DOCX and notebooks are one document a file; JSONL, and
    tables with a column `text`, are one a row, with perhaps `id` and `title`.

    Raises:
        UserError: there is no such path, or no document in it.
    """
    found: list[Document] = []
    wanted, skipped = files(source)
    for file in wanted:
        try:
            found.extend(contents(file))
        except UserError as error:
            skipped.append(Skipped(file.name, str(error)))
    if not found:
        raise nothing_in(source, skipped)
    return found, skipped


def nothing_in(source: str | Path, skipped: list[Skipped]) -> UserError:
    """The error for a corpus without a document."""
    reasons = "; ".join(f"{s.path}: {s.reason}" for s in skipped[:3]) or "it is empty"
    return UserError(
        f"no document in {str(source)!r} ({reasons}); give a folder with files such as "
        ".txt .md .html .pdf .docx .csv .jsonl or source code"
    )


def contents(file: File) -> list[Document]:
    """The documents of one file.

    Raises:
        UserError: it is too large, has no format known here, is damaged, or holds no text.
    """
    try:
        size = file.path.stat().st_size
        if file.path.suffix.lower() in READERS and size > LARGEST:
            raise UserError(
                f"larger than {LARGEST // 2**20} MiB ({size / 2**20:.0f}); cut it into parts"
            )
        return read(file.path, file.name)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}") from None


def files(source: str | Path) -> tuple[list[File], list[Skipped]]:
    """Regular files below a path, each folder and file once however many links lead there.

    Raises:
        UserError: there is no such path.
    """
    source = Path(source)
    if not source.exists():
        raise UserError(f"no folder or file {str(source)!r}; check the path")
    base = source if source.is_dir() else source.parent
    skipped: list[Skipped] = []
    return [File(path, _name(path, base)) for path in _walked(source, skipped)], skipped


def _name(path: Path, base: Path) -> str:
    """The path to cite by: on one line, and writable as UTF-8 whatever the file system holds."""
    name = path.relative_to(base).as_posix()
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in name
    )


def _walked(source: Path, skipped: list[Skipped]) -> Iterator[Path]:
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
            skipped.append(Skipped(_name(folder, source), str(error.strerror)))
            continue
        below: list[Path] = []
        for entry in entries:
            path = Path(entry.path)
            reason = _reason_to_skip(path, seen)
            if reason is not None:
                skipped.append(Skipped(_name(path, source), reason))
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
