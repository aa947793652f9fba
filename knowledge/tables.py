"""Reading rows: unknown keys, missing sources and duplicates are refused with file and row."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from knowledge.errors import UserError
from knowledge.files import text_of

Row = TypeVar("Row", bound=msgspec.Struct)


def csv_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of a CSV file as records; an empty cell is an absent value."""
    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        for number, cells in enumerate(reader, start=2):
            present = {key: cell for key, cell in cells.items() if cell not in ("", None)}
            yield _record(present, kind, f"{path.name}, line {number}", strict=False)


def jsonl_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of a JSON-lines file as records."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line, type=kind)
                except msgspec.DecodeError as error:
                    raise UserError(f"{path.name}, line {number}: {error}") from None


def yaml_rows(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of a YAML list as records."""
    for number, row in enumerate(yaml_value(path) or [], start=1):
        yield _record(row, kind, f"{path.name}, row {number}", strict=True)


def yaml_value(path: Path) -> Any:
    """What a YAML file holds, safely loaded.

    Raises:
        UserError: it cannot be read, is not UTF-8, or is not YAML.
    """
    import yaml  # 20 ms: commands that read no YAML do not pay for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = text_of(path, "YAML file")
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 (safe loader)
    except yaml.YAMLError as error:
        first = " ".join(str(error).split())[:160]
        raise UserError(f"{str(path)!r} is not valid YAML: {first}") from None


def by_id(
    rows: Iterator[Row],
    name: str,
    key: Callable[[Row], str] = lambda row: row.id,  # type: ignore[attr-defined]
) -> dict[str, Row]:
    """Rows by their id.

    Raises:
        UserError: an id stands twice.
    """
    table: dict[str, Row] = {}
    for row in rows:
        if key(row) in table:
            raise UserError(f"{name}: {key(row)!r} stands twice; ids are unique")
        table[key(row)] = row
    return table


def _record(value: Any, kind: type[Row], place: str, *, strict: bool) -> Row:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise UserError(f"{place}: {error}") from None
