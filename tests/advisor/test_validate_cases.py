"""Advice is judged by the labels, and sees nothing but the profile and the task type."""

import json

import msgspec
import pytest

from advisor import validate
from advisor.validate.cases import answers
from knowledge import cases
from knowledge.errors import UserError

ROWS = cases.rows()


def best_of(rows):
    """An advisor that knows the answers."""
    known = {json.dumps(answers(case), sort_keys=True): case for case in rows}

    def advise(profile):
        case = known[json.dumps(profile, sort_keys=True)]
        second = case.second_opinion.best_stack
        right = case.labels.all_ok(case.labels.best_stack)
        return (case.labels.best_stack if right else second), "api", 1.0

    return advise


def always(*stack, sure=0.8):
    return lambda profile: (stack, "api", sure)


def test_who_knows_the_answers_is_right_everywhere():
    got = validate.cases(ROWS, best_of(ROWS)).summary
    assert got.all_ok == got.consensus_ok == got.traps == got.confidence == 1.0
    assert got.brier == got.brier_constant == 0.0


def test_advice_sees_the_profile_and_the_task_type_only():
    seen = []

    def advise(profile):
        seen.append(set(profile))
        return ("prompt",), "api", 0.5

    validate.cases(ROWS, advise)
    assert all(keys == {"task_type", *ROWS[0].profile} for keys in seen)


def test_the_simple_advisors_stand_beside_and_agree_with_a_run_of_their_own():
    simple = validate.cases(ROWS, always("prompt")).summary.simple_advisors
    names = ["always-prompt", "always-LoRA", "always-RAG", "facts-RAG-form-LoRA"]
    assert list(simple) == names
    for name, word in (("always-LoRA", "lora"), ("always-RAG", "rag")):
        own = validate.cases(ROWS, always(word)).summary
        assert simple[name].all_ok == own.all_ok
        assert 0.05 < own.all_ok < 0.6


def test_a_mean_of_squares_by_hand():
    labels = cases.Labels(("rag",), ("rag",))
    rows = [cases.Case(str(n), "qa", {"gap": "facts"}, labels) for n in range(4)]
    got = validate.cases(rows, always("rag", sure=0.75)).summary
    assert (got.all_ok, got.brier, got.brier_constant) == (1.0, 0.0625, 0.0)
    got = validate.cases(rows, always("lora", sure=0.75)).summary
    assert (got.all_ok, got.brier, got.traps) == (0.0, 0.5625, None)


def test_a_refused_profile_is_wrong_and_never_right():
    def refuse(profile):
        raise UserError("half a profile")

    got = validate.cases(ROWS, refuse)
    assert got.rows[0].skipped == "half a profile"
    assert (got.summary.all_ok, got.summary.not_wrong, got.summary.n_skipped) == (0.0, 0.0, 50)
    assert got.summary.brier is None


def test_one_answer_forgotten_at_a_time():
    labels = cases.Labels(("rag",), ("rag",))
    rows = [cases.Case("a", "qa", {"gap": "facts", "citations": True, "tried": None}, labels)]

    def needs_gap(profile):
        return (("rag",) if profile["gap"] == "facts" else ("lora",)), "api", 1.0

    got = validate.cases(rows, needs_gap, one_unknown=True).summary
    assert got.all_ok == 1.0
    assert got.all_ok_one_unknown == pytest.approx(2 / 3)  # gap, citations, task_type
    assert validate.cases(rows, needs_gap).summary.all_ok_one_unknown is None


def test_questions_are_counted_where_they_are_asked():
    got = validate.cases(ROWS, always("rag"), lambda profile: len(profile)).summary
    assert got.median_questions == len(ROWS[0].profile) + 1
    assert validate.cases(ROWS, always("rag")).summary.median_questions is None


def test_groups_hold_every_case_once():
    got = validate.cases(ROWS, always("rag"))
    for named in got.by_group.values():
        assert sum(scores.n for scores in named.values()) == 50
    assert set(got.by_group["evidence"]) == {"measured", "deployed"}


def test_the_json_has_the_keys_of_the_contract():
    plain = json.loads(msgspec.json.encode(validate.cases(ROWS, always("rag", "prompt"))))
    assert {
        "id", "stack", "delivery", "confidence", "primary_ok", "must_ok", "not_wrong", "all_ok",
        "consensus_ok", "trap",
    } <= set(plain["rows"][0])  # fmt: skip
    assert {
        "primary_ok", "must_ok", "not_wrong", "all_ok", "consensus_ok", "traps", "brier",
        "median_questions", "all_ok_one_unknown", "simple_advisors",
    } <= set(plain["summary"])  # fmt: skip
    assert plain["rows"][0]["stack"] == ["rag", "prompt"]


def test_the_advisor_itself_is_judged_on_a_file(tmp_path):
    path = tmp_path / "own.json"  # JSON is YAML
    path.write_bytes(msgspec.json.encode({"cases": [cases.find("medprompt")]}))
    got = validate.report("cases", path)
    (row,) = got.rows
    assert row.skipped is None
    assert row.stack[0] in cases.APPROACHES
    assert 0 < row.confidence <= 1
    assert 1 <= got.summary.median_questions <= len(ROWS[0].profile) + 1
    assert 0 <= got.summary.all_ok_one_unknown <= 1


def test_the_packaged_cases_are_mostly_right():
    got = validate.cases(ROWS).summary
    assert got.n_skipped == 0
    assert got.all_ok > max(simple.all_ok for simple in got.simple_advisors.values())
