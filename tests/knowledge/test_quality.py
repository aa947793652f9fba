"""Expected quality: rows with sources and conditions, wider outside them."""

from knowledge import quality
from knowledge.quantities import Range


def test_rows_hold_together() -> None:
    for row in quality.table().values():
        assert row.says.endswith("."), row.id
        assert row.cited(), row.id


def test_outside_its_conditions_a_row_is_wider() -> None:
    inside = quality.expected(
        ("head-ft",), {"task_type": "classify", "labels_per_class": 250, "n_classes": 20}
    )
    outside = quality.expected(("head-ft",), {"task_type": "classify"})
    assert inside is not None
    assert outside is not None
    assert inside.unmet == ()
    assert outside.unmet
    assert outside.range.low < outside.row.low < outside.row.high < outside.range.high


def test_more_labels_are_never_expected_to_do_worse() -> None:
    mids = []
    for labels in (5, 10, 40, 150, 1000):
        found = quality.expected(
            ("head-ft",), {"task_type": "classify", "labels_per_class": labels, "n_classes": 20}
        )
        assert found is not None
        mids.append(found.range.mid)
    assert mids == sorted(mids)


def test_the_whole_stack_goes_before_its_lead_and_silence_is_unknown() -> None:
    facts = {"task_type": "qa", "unlabelled_tokens": 10**9, "gap": "both"}
    alone, fed = quality.expected(("cpt",), facts), quality.expected(("cpt", "rag"), facts)
    assert alone is not None
    assert fed is not None
    assert fed.range.mid > alone.range.mid
    assert quality.expected(("dpo",), {"task_type": "sql"}) is None
    assert quality.expected(("prompt",), {}) is None


def test_widening_is_in_log_odds_and_stays_a_share() -> None:
    wide = quality.widened(Range(0.8, 0.9, 0.99), 3.0)
    assert 0 < wide.low < 0.8
    assert 0.99 < wide.high < 1
    assert quality.widened(Range(0.8, 0.9, 0.95), 1.0) == Range(0.8, 0.9, 0.95)
