"""Quality filters of text: published bounds on what can be measured of a document."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.errors import unknown
from knowledge.tables import by_id, yaml_rows


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on one measure of a document; it passes between them, both included.

    `size` is the length of the runs of words that are measured, `languages` those that the filter
    is about (empty: all).
    """

    id: str
    family: str
    measure: str
    says: str
    source: str
    status: Literal["read", "remembered"]
    least: float | None = None
    most: float | None = None
    size: int | None = None
    languages: tuple[str, ...] = ()


@cache
def table() -> Mapping[str, Filter]:
    """All filters by id."""
    return by_id(yaml_rows(DATA / "filters.yaml", Filter), "filters.yaml")


def chosen(names: Iterable[str], without: Iterable[str] = ()) -> tuple[Filter, ...]:
    """The filters of families or ids, in the table's order, but those left out.

    Raises:
        UserError: a name is neither a family nor a filter (with the nearest that are).
    """
    return tuple(row for id_, row in table().items() if id_ in _ids(names) - _ids(without))


def _ids(names: Iterable[str]) -> set[str]:
    rows = table()
    families = {row.family for row in rows.values()}
    found: set[str] = set()
    for name in names:
        if name not in rows and name not in families:
            raise unknown("filter", name, {*rows, *families})
        found.update(id_ for id_, row in rows.items() if name in (id_, row.family))
    return found
