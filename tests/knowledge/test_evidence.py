"""The findings: complete, sourced, and found by a forgiving name."""

import pytest

from knowledge import evidence
from knowledge.errors import UserError


def test_every_finding_says_what_where_from_and_how_surely() -> None:
    rows = evidence.table()
    assert sum(key.startswith("E") for key in rows) == 34
    for row in rows.values():
        assert row.claim.endswith("."), row.id
        assert row.source, row.id
        assert row.checked >= "2026-11-20", row.id
        assert row.url is None or row.url.startswith("https://"), row.id


def test_findings_that_are_not_corrections_have_a_number_conditions_and_advice() -> None:
    for row in evidence.table().values():
        if row.corrects is None:
            assert row.number, row.id
            assert row.conditions, row.id
            assert row.advice, row.id


def test_the_wrong_claims_of_the_source_articles_are_corrected() -> None:
    corrections = [row for row in evidence.table().values() if row.corrects is not None]
    assert len(corrections) == 8
    qlora = evidence.find("C01")
    assert "4 bits" in qlora.claim
    assert "low-rank" in (qlora.corrects or "")


def test_remembered_findings_say_so_where_they_are_cited() -> None:
    assert evidence.find("e20").cited().endswith("(remembered)")
    assert "remembered" not in evidence.find("E01").cited()


def test_an_unknown_finding_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no finding 'E9999'"):
        evidence.find("E9999")
