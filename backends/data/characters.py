"""Text out of bytes: UTF-8 or a clear word about what is there instead."""

import unicodedata
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from pathlib import Path

from knowledge.errors import UserError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, line ends kept; a byte order mark is dropped.

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8 or holds a NUL byte.
    """
    try:
        with path.open("rb") as lines:
            offset = 0
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    _refuse_utf16(path, line)
                    text = _decoded(path, line.removeprefix(BOM_UTF8), number, offset)
                else:
                    text = _decoded(path, line, number, offset)
                offset += len(line)
                yield number, text
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from None


def whole_text(path: Path) -> str:
    """The text of a file, checked as `lines_of` checks it."""
    return "".join(line for _, line in lines_of(path))


def _refuse_utf16(path: Path, start: bytes) -> None:
    if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise UserError(
            f"{path.name} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path.name}"
        )


def _decoded(path: Path, line: bytes, number: int, offset: int) -> str:
    nul = line.find(b"\0")
    if nul >= 0:
        raise UserError(
            f"{path.name}, line {number}: NUL at byte {offset + nul}; "
            f"the file is binary or damaged there, save it as UTF-8 text"
        )
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path.name}, line {number}: not UTF-8 (byte {line[error.start]:#04x} "
            f"at {offset + error.start}){_guess(path.name, line)}"
        ) from None


def _guess(name: str, line: bytes) -> str:
    """What the bytes may be instead: Windows-1252 leaves five bytes without a character."""
    try:
        seen = line.decode("cp1252").strip()[:40]
    except UnicodeDecodeError:
        return "; save it as UTF-8"
    return f"; as Windows-1252 it reads {seen!r}: if so, iconv -f WINDOWS-1252 -t UTF-8 {name}"


class _Folding(dict[int, str | int]):
    """For `str.translate`: letters, marks and digits stay, all else becomes a space."""

    def __missing__(self, code: int) -> str | int:
        keep = unicodedata.category(chr(code))[0] in "LMN"
        self[code] = code if keep else " "
        return self[code]


_FOLDING = _Folding()


def normalised(text: str) -> str:
    """The text without case, punctuation and spacing: equal for near-identical copies.

    A text of nothing but symbols is kept, so that two different ones stay different.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(folded.translate(_FOLDING).split())
    return words or " ".join(folded.split())
