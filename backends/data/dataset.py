"""A data file as rows of one shape, or one line that says what is wrong with it."""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from backends.data.conversion import Fault, converted
from backends.data.files import Record, records
from backends.data.rows import Labelled, Row
from backends.data.shapes import detected, forced, shape_named
from knowledge.errors import UserError, unknown

LOOKED_AT = 100
PLACES_NAMED = 5


class Dataset(msgspec.Struct, frozen=True):
    """The rows of a file; `columns` says which column played which role."""

    path: Path
    shape: str
    rows: tuple[Row, ...]
    columns: dict[str, str]

    def labelled(self) -> tuple[Labelled, ...]:
        """The rows, which must be texts with labels.

        Raises:
            UserError: they are of another shape.
        """
        rows = tuple(row for row in self.rows if isinstance(row, Labelled))
        if len(rows) != len(self.rows):
            raise UserError(
                f"{self.path.name} has the shape {self.shape!r}; texts with labels are needed "
                f"(name the columns, as in columns: {{text: 'utterance', label: 'intent'}})"
            )
        return rows


def read(
    path: str | Path,
    shape: str | None = None,
    columns: Mapping[str, str] | None = None,
    skipped: list[str] | None = None,
) -> Dataset:
    """The dataset in a JSONL, JSON, CSV, TSV or Parquet file.

    Args:
        shape: a name of `backends.data.shapes`; found by the columns' names if None.
        columns: column by role (`{"text": "utterance"}`), for names that are not the usual ones.
        skipped: rows that cannot be used are left out and named here, each with its reason.
    Raises:
        UserError: the file or rows of it cannot be used; file, row and column are named.
    """
    shape_id, roles, rows = stream(path, shape, columns, skipped)
    return Dataset(Path(path), shape_id, tuple(rows), roles)


def stream(
    path: str | Path,
    shape: str | None = None,
    columns: Mapping[str, str] | None = None,
    skipped: list[str] | None = None,
) -> tuple[str, dict[str, str], Iterator[Row]]:
    """The shape of a file, which column plays which role, and its rows one at a time.

    Raises:
        UserError: as `read`; faults of rows when all rows have been taken.
    """
    path = Path(path)
    raw = records(path)
    ahead = list(islice(raw, LOOKED_AT))
    example = _example(ahead)
    chosen = _present(path.name, columns or {}, example)
    if shape is None:
        found, roles = detected(path.name, example, chosen)
    else:
        found = shape_named(shape)
        roles = forced(path.name, found, example, chosen)
    return found.id, roles, _rows(path, found.id, chain(ahead, raw), roles, skipped)


def groups(path: str | Path, column: str | None) -> dict[int, str]:
    """By line what each row of a file belongs to; empty where no column says it.

    Raises:
        UserError: the file has no such column.
    """
    if column is None:
        return {}
    found: dict[int, str] = {}
    seen: dict[str, Any] = {}
    for record in records(Path(path)):
        seen |= record.cells
        value = record.cells.get(column)
        if value not in (None, ""):
            found[record.line] = str(value)
    if column not in seen:
        raise unknown(f"group column in {Path(path).name}:", column, seen)
    return found


def _example(ahead: list[Record]) -> dict[str, Any]:
    """For each column in the first records a value that is not empty."""
    example: dict[str, Any] = {}
    for record in ahead:
        for column, value in record.cells.items():
            if example.get(column) in (None, "", []):
                example[column] = value
    return example


def _present(file: str, columns: Mapping[str, str], example: Mapping[str, Any]) -> dict[str, str]:
    for column in columns.values():
        if column not in example:
            raise unknown(f"column in {file}:", column, example, f"it has {', '.join(example)}")
    return dict(columns)


def _rows(
    path: Path,
    shape: str,
    stream: Iterator[Record],
    columns: Mapping[str, str],
    skipped: list[str] | None,
) -> Iterator[Row]:
    """The rows of a stream.

    Raises:
        UserError: at the end, for all rows that could not be used.
    """
    faults: dict[tuple[str, str], list[str]] = {}
    total = 0
    for record in stream:
        total = record.row
        try:
            yield from converted(shape, record, columns)
        except Fault as fault:
            if skipped is not None:
                skipped.append(f"{record.place}: {fault.column!r} {fault.what}")
                continue
            faults.setdefault((fault.column, fault.what), []).append(record.place)
    if faults:
        raise UserError(_told(path.name, faults, total))


def _told(file: str, faults: dict[tuple[str, str], list[str]], total: int) -> str:
    """The commonest fault in one line, and how many rows have others."""
    (column, what), places = max(faults.items(), key=lambda item: len(item[1]))
    others = sum(len(found) for found in faults.values()) - len(places)
    more = f" and {len(places) - PLACES_NAMED:,} more" if len(places) > PLACES_NAMED else ""
    return (
        f"{file}: column {column!r} {what} in {len(places):,} of {total:,} rows "
        f"({', '.join(places[:PLACES_NAMED])}{more}); fill or remove them"
        + (
            f"; {others:,} other row{'s have' if others != 1 else ' has'} other faults"
            if others
            else ""
        )
    )
