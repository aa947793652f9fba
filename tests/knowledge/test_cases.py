"""Past decisions: complete, consistent, without prose; files of users are read."""

import pytest
import yaml

from knowledge import DATA, cases
from knowledge.errors import UserError

ROWS = cases.rows()


def test_all_cases_are_there_with_a_source():
    assert len(ROWS) == len(cases.table()) == 50
    for case in ROWS:
        assert case.source.title
        assert case.source.url.startswith("https://")
        assert case.source_status in ("read", "remembered")
        assert case.evidence_kind in ("measured", "deployed")
        assert case.family and case.group


def test_profiles_have_the_same_keys_and_say_nothing_of_the_end():
    keys = {frozenset(case.profile) for case in ROWS}
    assert len(keys) == 1
    assert not {"chosen", "outcome", "labels"} & set(*keys)


def test_judges_use_the_words_of_a_stack_and_do_not_contradict_themselves():
    for case in ROWS:
        for labels in (case.labels, case.second_opinion):
            words = labels.best_stack + labels.acceptable_primary
            assert set(words + labels.must_include + labels.wrong) <= set(cases.APPROACHES)
            assert not set(labels.acceptable_primary + labels.must_include) & set(labels.wrong)
            assert labels.must_ok(labels.best_stack)
            assert labels.not_wrong(labels.best_stack)


def test_a_consensus_allows_what_either_judge_calls_best():
    for case in ROWS:
        assert case.consensus().all_ok(case.labels.best_stack)
        assert case.consensus().all_ok(case.second_opinion.best_stack)


def test_judgement_by_hand():
    labels = cases.Labels(("rag",), ("rag", "lora"), ("rag",), ("scratch",))
    assert labels.all_ok(("lora", "rag"))
    assert not labels.primary_ok(("prompt", "rag"))
    assert not labels.must_ok(("lora",))
    assert not labels.not_wrong(("rag", "scratch"))
    assert not labels.all_ok(())


def test_a_consensus_by_hand():
    second = cases.Labels(("lora",), ("lora",), (), ("scratch", "cpt"))
    first = cases.Labels(("rag",), ("rag",), ("rag",), ("scratch",))
    case = cases.Case("a", "qa", {}, first, second_opinion=second)
    assert case.consensus() == cases.Labels(("rag",), ("rag", "lora"), (), ("scratch",))
    assert cases.Case("a", "qa", {}, first).consensus() == first


def test_a_case_is_found_by_name():
    assert cases.find("Medprompt").task_type == "qa"
    with pytest.raises(UserError, match="no case 'medpromt'"):
        cases.find("medpromt")


def test_the_packaged_file_holds_facts_and_no_story():
    told = {"title", "who", "task", "data", "chosen", "outcome", "numbers", "note", "from_memory"}
    for item in yaml.safe_load((DATA / "cases.yaml").read_text(encoding="utf-8")):
        assert not told & set(item)
        assert isinstance(item["labels"]["wrong"], list)


def own(tmp_path, value):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


LABELS = {"best_stack": ["rag"], "acceptable_primary": ["rag"]}


def test_a_file_with_the_whole_story_is_read(tmp_path):
    item = {
        "task_type": "qa",
        "outcome": "it worked",
        "profile": {"gap": "facts"},
        "labels": LABELS | {"wrong": {"cpt": "too dear"}},
        "source_status": "memory",
    }
    (case,) = cases.rows(own(tmp_path, {"meta": {}, "cases": [item]}))
    assert (case.id, case.labels.wrong, case.source_status) == ("row-1", ("cpt",), "remembered")
    assert case.consensus() == case.labels


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "no list of cases"),
        ([], "no list of cases"),
        (["rag"], "is no mapping"),
        ([{"task_type": "qa", "profile": {}}], "labels"),
        (
            [{"task_type": "qa", "profile": {}, "labels": LABELS | {"must_include": ["rags"]}}],
            "no approach 'rags'",
        ),
    ],
)
def test_a_faulty_file_is_refused(tmp_path, value, said):
    with pytest.raises(UserError, match=said):
        cases.rows(own(tmp_path, value))
