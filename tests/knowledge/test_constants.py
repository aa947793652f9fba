"""Constants: one table, few fitted."""

import re
from pathlib import Path

import pytest

import advisor
from knowledge import constants

ROWS = list(constants.table().values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rows_are_ordered_and_sourced(row: constants.Constant) -> None:
    assert row.low <= row.mid <= row.high
    assert row.source
    assert (row.kind == "fitted") == bool(row.fit)
    assert row.kind not in ("published", "judged") or row.source.startswith("https://")


def test_at_most_a_dozen_are_fitted() -> None:
    assert sum(row.kind == "fitted" for row in ROWS) <= 12


def test_every_constant_is_used() -> None:
    folder = Path(advisor.__file__).parent / "estimates"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    used = set(re.findall(r'"([a-z0-9-]+)"', text))
    unused = [row.id for row in ROWS if row.id not in used and not row.id.startswith("spread-")]
    assert unused == []
