"""Raw records of a file, one at a time, with the row and line where each begins."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backends.data.characters import lines_of, whole_text
from backends.data.jsons import elements
from backends.data.tables import table_records
from knowledge.errors import UserError

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
HINTS = {
    ".txt": "plain text has no columns: use it as a corpus, or save it as .jsonl with a 'text' key",
    ".md": "plain text has no columns: use it as a corpus, or save it as .jsonl with a 'text' key",
    ".xlsx": "save the sheet as CSV in UTF-8",
    ".xls": "save the sheet as CSV in UTF-8",
    ".gz": "unpack it first",
    ".zip": "unpack it first",
    ".arrow": "save it as Parquet",
}


class Record(NamedTuple):
    """The cells of one row as the file has them."""

    row: int
    line: int
    cells: dict[str, Any]

    @property
    def place(self) -> str:
        """The row in words, for errors."""
        return place(self.row, self.line)


def place(row: int, line: int) -> str:
    """A row in words: data rows count from 1, and the line is named where it differs."""
    return f"row {row}" if row == line else f"row {row} (line {line})"


def records(path: Path) -> Iterator[Record]:
    """The records of a data file.

    Raises:
        UserError: the file is missing, a folder, empty, not text, of an unknown type, or broken
            at a row, which is named.
    """
    kind = kind_of(path)
    count = 0
    for count, (line, cells) in enumerate(_READERS[kind](path), start=1):
        yield Record(count, line, cells)
    if not count:
        raise UserError(f"{path.name} has no rows; give a file with at least one example")


def kind_of(path: Path) -> str:
    """The format by the file's suffix.

    Raises:
        UserError: there is no such file, it is a folder, empty, or of a type unknown here.
    """
    try:
        if path.is_dir():
            raise UserError(f"{str(path)!r} is a folder; give a data file ({_known()})")
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}; check the path") from None
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from None
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = HINTS.get(suffix, f"known: {_known()}")
        raise UserError(f"{path.name}: no data format {suffix!r}; {hint}")
    if not size:
        raise UserError(f"{path.name} is empty; give a file with at least one example")
    return SUFFIXES[suffix]


def _known() -> str:
    return " ".join(SUFFIXES)


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UserError(
                f"{path.name}, line {number}: broken JSON ({error}); "
                f"it begins {line.strip()[:40]!r}, each line must be one whole object"
            ) from None
        yield number, _object(value, f"{path.name}, line {number}")


def _json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, value in elements(path.name, whole_text(path)):
        yield line, _object(value, f"{path.name}, line {line}")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(
            f"{where}: a row is {type(value).__name__} {str(value)[:40]!r}; "
            f"each row must be an object with named columns"
        )
    return value


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    from backends.data.parquet import parquet_records  # pyarrow is wanted by this format only

    return parquet_records(path)


_READERS = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": lambda path: table_records(path, ","),
    "tsv": lambda path: table_records(path, "\t"),
    "parquet": _parquet,
}
