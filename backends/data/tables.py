"""CSV and TSV: header, delimiter, ragged rows, and tables without a header."""

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from backends.data.characters import lines_of
from backends.data.names import KNOWN_COLUMNS, plain
from knowledge.errors import UserError

LARGEST_CELL = 16 * 1024 * 1024  # characters; the csv module stops at 131,072 by itself
LOOKED_AT = 200


def table_records(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a delimited file with the line where each begins.

    Two columns under names nobody uses, whose first row looks like the rest, are a table without
    a header; the column with fewer different values is then its label.

    Raises:
        UserError: a stray quote, a row of another width, a column name that stands twice.
    """
    rows = _rows(path, delimiter)
    first = next(rows, None)
    if first is None:
        return
    ahead = list(islice(rows, LOOKED_AT))
    names = _headless_names([first, *ahead])
    if names is None:
        names = _header(path, first[1])
        rows = chain(ahead, rows)
    else:
        rows = chain([first], ahead, rows)
    for number, (line, cells) in enumerate(rows, start=1):
        if len(cells) != len(names):
            raise UserError(
                f"{path.name}, row {number} (line {line}): {len(cells)} cells where the header has "
                f"{len(names)}; put a text that holds {_separator(path, delimiter)} in quotes"
            )
        yield line, dict(zip(names, cells, strict=True))


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line where each begins."""
    csv.field_size_limit(LARGEST_CELL)
    lines = (line for _, line in lines_of(path))
    head = next(lines, "")
    reader = csv.reader(chain([head], lines), delimiter=_delimiter_of(head, delimiter), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path.name}, line {begins}: {_in_words(error)}; put the text in quotes and "
                f'write a quote inside it twice ("")'
            ) from None
        if any(cell.strip() for cell in cells):
            yield begins, cells


def _delimiter_of(head: str, usual: str) -> str:
    """The delimiter of the header line: spreadsheets of many countries write semicolons."""
    return next((mark for mark in (usual, ";", "\t", ",") if mark in head), usual)


def _separator(path: Path, delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"a comma or semicolon ({path.suffix})"


def _in_words(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return f"a cell holds more than {LARGEST_CELL:,} characters, or a quote is never closed"
    if "end of data" in text:
        return "a quote opens here and never closes"
    if "new-line character" in text:
        return "a carriage return stands alone (old Mac line ends)"
    return f"a stray quote ({text})"


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() or f"column_{n}" for n, cell in enumerate(cells, start=1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{path.name}: the column {twice[0]!r} stands {names.count(twice[0])} times in the "
            f"header; rename all but one"
        )
    return names


def _headless_names(rows: list[tuple[int, list[str]]]) -> list[str] | None:
    """The names of the columns of a table without a header; None where the header is one."""
    header, body = rows[0][1], [cells for _, cells in rows[1:]]
    if len(header) != 2 or any(plain(cell) in KNOWN_COLUMNS for cell in header):
        return None
    pairs = [cells for cells in body if len(cells) == 2]
    columns = [[cells[n] for cells in pairs] for n in (0, 1)]
    label = min((0, 1), key=lambda n: len(set(columns[n])))
    if header[label] not in columns[label]:
        return None
    return ["label", "text"] if label == 0 else ["text", "label"]
