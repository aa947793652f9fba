"""No rule fits a single decision: each fires in several cases of several families."""

from collections import defaultdict

from advisor.facts import DERIVED, OF_AN_OPTION, derived
from advisor.profile import KEYS, settled
from knowledge import cases, rules


def test_rules_and_beliefs_read_facts_that_exist() -> None:
    known = {*KEYS, *DERIVED, *OF_AN_OPTION}
    for rule in rules.table().values():
        assert rule.facts() <= known, rule.id
    for fact, rows in rules.beliefs().items():
        assert fact in KEYS
        for row in rows:
            assert {name for clause in row.when for name in clause.facts()} <= set(KEYS), row.id


def test_each_rule_but_a_veto_fires_in_three_cases_of_two_families() -> None:
    fired: dict[str, set[str]] = defaultdict(set)
    families: dict[str, set[str]] = defaultdict(set)
    for case in cases.table().values():
        given = {key: value for key, value in case.profile.items() if value is not None}
        facts = derived(settled({**given, "task_type": case.task_type}).answers())
        for rule in rules.table().values():
            if rule.fires(facts):
                fired[rule.id].add(case.id)
                families[rule.id].add(case.family or case.id)
    print("\nrule: cases, families")
    for rule in rules.table().values():
        print(f"{rule.id}: {len(fired[rule.id])}, {len(families[rule.id])}")
    for rule in rules.table().values():
        if rule.kind in ("veto", "verdict"):  # a verdict is a veto of building
            continue
        assert len(fired[rule.id]) >= 3, rule.id
        assert len(families[rule.id]) >= 2, rule.id
