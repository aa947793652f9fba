"""Every fitted or empirical constant of the estimates, in one table, with range and source."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.names import found
from knowledge.quantities import Range
from knowledge.tables import by_id, jsonl_rows


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number that no formula gives.

    `kind` is "fitted" (to the packaged measurements, as `fit` says), "judged" (set with those rows
    in view; `source` bears on it but does not state it), "published" (in `source`) or "measured"
    (once, as `source` says).
    """

    id: str
    says: str
    low: float
    mid: float
    high: float
    unit: str
    kind: Literal["fitted", "judged", "published", "measured"]
    source: str
    status: Literal["read", "remembered"]
    fit: str = ""

    @property
    def range(self) -> Range:
        """Low, mid and high."""
        return Range(self.low, self.mid, self.high)


@cache
def table() -> Mapping[str, Constant]:
    """All constants by id."""
    return by_id(jsonl_rows(DATA / "constants.jsonl", Constant), "constants.jsonl")


def find(name: str) -> Constant:
    """The constant of that name.

    Raises:
        UserError: there is none; the nearest names are listed.
    """
    rows = table()
    if name in rows:
        return rows[name]
    return rows[found("constant", name, dict.fromkeys(rows, ()))]
