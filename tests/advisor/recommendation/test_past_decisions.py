"""The marks on past decisions: right, robust to one unknown, few questions, calibrated."""

from functools import cache
from statistics import mean, median

from advisor.profile import Profile, settled
from advisor.questionnaire import rehearsed
from advisor.recommendation.ranking import DECIDED, RIGHT, SUREST, ranked
from knowledge import cases
from knowledge.cases import Case


@cache
def profiles() -> list[tuple[Case, Profile]]:
    rows = []
    for case in cases.table().values():
        given = {key: value for key, value in case.profile.items() if value is not None}
        rows.append((case, settled({**given, "task_type": case.task_type})))
    return rows


def right(case: Case, answers: dict[str, object]) -> bool:
    first = ranked(answers).first
    return first is not None and case.labels.all_ok(first.stack)


def test_nine_of_ten_are_right() -> None:
    assert mean(right(case, profile.answers()) for case, profile in profiles()) >= 0.90


def test_confidence_says_how_often_it_is_right() -> None:
    hits = [right(case, profile.answers()) for case, profile in profiles()]
    stated = [ranked(profile.answers()).confidence for _, profile in profiles()]
    share = mean(hits)
    brier = mean((sure - hit) ** 2 for sure, hit in zip(stated, hits, strict=True))
    assert abs(mean(stated) - share) <= 0.08
    assert brier < share * (1 - share)
    assert max(stated) <= SUREST
    assert mean(s for s, hit in zip(stated, hits, strict=True) if not hit) < mean(stated)


def test_the_record_that_bounds_confidence_is_that_of_these_decisions() -> None:
    hits = [right(case, profile.answers()) for case, profile in profiles()]
    assert (sum(hits), len(hits)) == (RIGHT, DECIDED)


def test_traps_are_seen_through() -> None:
    assert all(right(case, profile.answers()) for case, profile in profiles() if case.trap)


def test_one_unknown_answer_changes_little() -> None:
    hits = [
        right(case, {k: v for k, v in profile.answers().items() if k != key})
        for case, profile in profiles()
        for key in profile.answers()
    ]
    assert mean(hits) >= 0.90


def test_few_questions_are_asked_and_they_are_the_right_ones() -> None:
    asked, hits = [], []
    for case, profile in profiles()[::5]:  # a fifth of the cases, for the test's own time
        answered, keys = rehearsed(profile)
        asked.append(len(keys))
        hits.append(right(case, answered.answers()))
    assert median(asked) <= 9
    assert mean(hits) >= 0.85
