"""Text and tables laid out to a width of terminal cells, with words kept whole where they fit."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from advisor.report.view import Table

WORD = 13  # longest word that a narrow column keeps whole
GAP = "  "


class Piece(NamedTuple):
    """A stretch of a line in one style: "", "bold", "dim" or the name of a colour."""

    text: str
    style: str = ""


Row = tuple[Piece, ...]
"""One line on the terminal."""


def cells(text: str) -> int:
    """Terminal cells that a text takes: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text, none wider than `width`; what is no printable character is left out.

    Words are broken only where one alone is wider than a line.
    """
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        lines += _paragraph(_printable(paragraph), max(1, width))
    return lines


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c for c in text.replace("\t", " ") if c.isprintable())


def _paragraph(text: str, width: int) -> list[str]:
    if cells(text) <= width:
        return [text.rstrip()]
    start = text[: len(text) - len(text.lstrip())]
    lines, line = [], start
    for word in text.split():
        joined = f"{line} {word}" if line.strip() else line + word
        if cells(joined) <= width:
            line = joined
            continue
        if line.strip():
            lines.append(line)
        *full, line = _broken(word, width)
        lines += full
    return [*lines, line]


def _broken(word: str, width: int) -> list[str]:
    """The parts of a word that is wider than a line."""
    parts = [""]
    for character in word:
        if parts[-1] and cells(parts[-1]) + _cell(character) > width:
            parts.append("")
        parts[-1] += character
    return parts


def clipped(text: str, width: int) -> str:
    """The text on one line, its end left out where it does not fit."""
    line = _printable(text)
    return line if cells(line) <= width else f"{_broken(line, max(1, width - 1))[0]}…"


def table(section: Table, width: int) -> Iterator[Row]:
    """The rows of a table under its headings."""
    columns = len(section.columns)
    texts = [section.columns, *section.rows]
    least, widths = [], []
    for number in range(columns):
        words = [word for row in texts for word in row[number].split()]
        least.append(min(WORD, max(map(cells, words), default=1)))
        widths.append(max(1, *(cells(line) for row in texts for line in row[number].split("\n"))))
    widths = narrowed(widths, least, width - len(GAP) * (columns - 1))
    for place, row in enumerate(texts):
        parts = [wrapped(text, size) for text, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            line = GAP.join(
                _filled(part[number] if number < len(part) else "", size)
                for part, size in zip(parts, widths, strict=True)
            )
            yield (Piece(line.rstrip(), "" if place else "dim"),)


def _filled(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def narrowed(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of columns that fit into `room`: the widest give way first, down to their least.

    Where even the least are too much, the widest still give way, down to one cell.
    """
    found = list(widths)
    for floor in (list(least), [1] * len(found)):
        while sum(found) > room:
            free = [n for n, size in enumerate(found) if size > floor[n]]
            if not free:
                break
            found[max(free, key=lambda n: found[n])] -= 1
    return found
