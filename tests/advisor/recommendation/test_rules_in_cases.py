"""No rule fits a single decision: each fires in several cases of several families."""

from collections import defaultdict

from advisor.facts import DERIVED, OF_AN_OPTION
from advisor.profile import KEYS, settled
from advisor.recommendation.ranking import ranked
from advisor.recommendation.reasons import LIKELY, shares
from knowledge import cases, rules


def test_rules_and_beliefs_read_facts_that_exist() -> None:
    known = {*KEYS, *DERIVED, *OF_AN_OPTION}
    for rule in rules.table().values():
        assert rule.facts() <= known, rule.id
    for fact, rows in rules.beliefs().items():
        assert fact in KEYS
        for row in rows:
            assert {name for clause in row.when for name in clause.facts()} <= set(KEYS), row.id


def test_each_rule_but_a_veto_cites_evidence_and_fires_in_three_cases_of_two_families() -> None:
    """A rule fires where the answers, or what an unanswered question most likely hides, say so."""
    fired: dict[str, set[str]] = defaultdict(set)
    families: dict[str, set[str]] = defaultdict(set)
    for case in cases.table().values():
        given = {key: value for key, value in case.profile.items() if value is not None}
        ranking = ranked(settled({**given, "task_type": case.task_type}).answers())
        for rule, share in shares(ranking).items():
            if share >= LIKELY:
                fired[rule].add(case.id)
                families[rule].add(case.family or case.id)
    print("\nrule: cases, families")
    for rule in rules.table().values():
        print(f"{rule.id} ({rule.kind}): {len(fired[rule.id])}, {len(families[rule.id])}")
    for rule in rules.table().values():
        if rule.kind == "veto":
            continue
        assert rule.evidence, rule.id
        assert len(fired[rule.id]) >= 3, rule.id
        assert len(families[rule.id]) >= 2, rule.id


def test_no_rule_names_a_case() -> None:
    names = {case.id.lower() for case in cases.table().values()}
    for rule in rules.table().values():
        assert rule.id not in names
        assert not names & set(rule.says.lower().split()), rule.id
