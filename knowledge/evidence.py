"""What published comparisons found: a claim, its number, when it holds, and how surely.

A row with `corrects` sets right something that is often repeated; `findings` are the rows that
bear it out.
"""

from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.errors import UserError
from knowledge.names import found
from knowledge.tables import by_id, yaml_rows

CHECKED = "2026-11-20"


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One finding, in our words.

    `status` says whether the source was read when checked or is remembered; `strength` how far
    the finding carries beyond its own set-up.
    """

    id: str
    topic: str
    claim: str
    source: str
    status: Literal["read", "remembered"]
    strength: Literal["high", "medium", "low"]
    number: str | None = None
    conditions: str | None = None
    advice: str | None = None
    url: str | None = None
    corrects: str | None = None
    findings: tuple[str, ...] = ()
    checked: str = CHECKED

    def cited(self) -> str:
        """The source as a reader looks it up: title, address, and whether it is from memory."""
        where = f"{self.source}, {self.url}" if self.url else self.source
        return f"{where} (remembered)" if self.status == "remembered" else where


@cache
def table() -> dict[str, Finding]:
    """All findings by id.

    Raises:
        UserError: a row that is malformed, stands twice, or leans on a finding that is not there.
    """
    rows = by_id(yaml_rows(DATA / "evidence.yaml", Finding), "evidence.yaml")
    for row in rows.values():
        for name in row.findings:
            if name not in rows:
                raise UserError(f"evidence.yaml: {row.id!r} leans on {name!r}, which is not there")
    return rows


def find(name: str) -> Finding:
    """The finding of that id, forgivingly."""
    return table()[found("finding", name, dict.fromkeys(table(), ()))]
