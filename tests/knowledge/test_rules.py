"""The rules as data: conditions, consequences, grounds."""

from typing import Any

import msgspec
import pytest

from knowledge import evidence, rules
from knowledge.errors import UserError
from knowledge.rules import Clause, Rule
from knowledge.tables import yaml_rows


def clause(**row: Any) -> Clause:
    return msgspec.convert(row, Clause)


@pytest.mark.parametrize(
    ("row", "facts", "holds"),
    [
        ({"fact": "gap", "is": "facts"}, {"gap": "facts"}, True),
        ({"fact": "gap", "is": "facts"}, {"gap": "both"}, False),
        ({"fact": "gap", "in": ["facts", "both"]}, {"gap": "both"}, True),
        ({"fact": "n", "at_least": 200}, {"n": 200}, True),
        ({"fact": "n", "at_least": 200}, {"n": 199}, False),
        ({"fact": "n", "below": 50}, {"n": 50}, False),
        ({"fact": "n", "at_least": 5, "below": 50}, {"n": 20}, True),
        ({"fact": "n", "below": 50}, {}, False),
        ({"fact": "citations", "is": False}, {"citations": False}, True),
        ({"fact": "citations", "is": False}, {"citations": None}, False),
    ],
)
def test_a_clause_holds_only_for_known_facts(
    row: dict[str, Any], facts: dict[str, Any], holds: bool
) -> None:
    assert clause(**row).holds(facts) is holds


def test_any_and_all_nest() -> None:
    both = clause(
        any=[{"fact": "a", "is": 1}, {"all": [{"fact": "b", "is": 2}, {"fact": "c", "is": 3}]}]
    )
    assert both.holds({"a": 1})
    assert both.holds({"b": 2, "c": 3})
    assert not both.holds({"b": 2})
    assert both.facts() == {"a", "b", "c"}


def test_unless_holds_a_rule_back() -> None:
    rule = rules.find("too-few-examples-to-tune")
    assert rule.fires({"labelled_examples": 10, "tried": "nothing"})
    assert not rule.fires({"labelled_examples": 10, "tried": "prompt-works-too-costly"})
    assert not rule.fires({})


def test_every_rule_but_a_veto_or_verdict_cites_findings() -> None:
    for rule in rules.table().values():
        if rule.kind != "veto":
            assert rule.evidence, rule.id
        assert set(rule.evidence) <= set(evidence.table()), rule.id
        assert rule.cited(), rule.id


def test_every_rule_has_a_sentence() -> None:
    for rule in rules.table().values():
        assert rule.says.endswith("."), rule.id
        assert rule.says[0].isupper() or rule.says[0] == "{", rule.id


def test_groups_are_spelled_out_and_own_points_stand_over_them() -> None:
    rule = rules.find("each-part-is-upkeep")
    assert set(rule.further) == set(rules.APPROACHES)
    assert rule.further["prompt"] == 0.0
    assert rule.further["dpo"] == -0.4


def test_beliefs_end_with_one_that_always_applies() -> None:
    for fact, rows in rules.beliefs().items():
        assert not rows[-1].when, fact
        assert all(row.when for row in rows[:-1]), fact


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("{id: a, kind: veto, says: No., out: [lora]}", "cites nothing"),
        ("{id: a, kind: prefer, says: No., evidence: [E01]}", "without its consequence"),
        ("{id: a, kind: prefer, says: No., first: {lora: 1}, source: x}", "cites nothing"),
        ("{id: a, kind: prefer, says: No., first: {lorax: 1}, evidence: [E01]}", "lorax"),
        ("{id: a, kind: veto, says: No., out: [lora], evidence: [E99]}", "E99"),
        ("{id: a, kind: vote, says: No.}", "kind"),
        ("{id: a, kind: veto, sais: No.}", "sais"),
        ("{id: a, kind: veto, says: No., out: [lora], source: x}\n- {id: a, kind: veto, says: No., "
         "out: [lora], source: x}", "stands twice"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused(
    row: str, complaint: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.yaml").write_text(f"- {row}\n", encoding="utf-8")
    monkeypatch.setattr(rules, "DATA", tmp_path)
    with pytest.raises(UserError, match=complaint):
        rules.table.__wrapped__()


def test_rows_are_read_strictly(tmp_path: Any) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("- {id: a, kind: veto, says: No., out: lora}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"rules\.yaml, row 1"):
        list(yaml_rows(path, Rule))
