"""Trials: which options are tried with how much, what they came to, what that overrules."""

from pathlib import Path

import pytest

from advisor import profile as profiles
from advisor.measured import of
from advisor.pilot import Trial, Tried, trials
from advisor.pilot.samples import samples
from advisor.questionnaire.counting import filled
from advisor.recommendation import recommend
from backends import plans
from backends.base import Metric, Plan, RunResult, Step, StepResult
from knowledge import SAMPLES
from knowledge.errors import UserError


def tried(name: str, value: float | None, rows: int = 100, metric: str = "accuracy") -> Tried:
    """A finished trial with one figure, or none."""
    found = {} if value is None else {metric: Metric(value, value - 0.05, value + 0.05, 90)}
    return Tried(name, name, (name,), None, "folder", 1.0, found, metric if found else None, rows)


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory):
    """The support sample: its profile, options, and parts of its examples."""
    profile = filled(profiles.read(SAMPLES / "profile_support.yaml"))
    parts = samples(profile.data, tmp_path_factory.mktemp("parts"))
    return profile, recommend(profile, top=50).options, parts


def test_one_trial_for_each_way_on_rows_that_fit_into_the_time(support, monkeypatch) -> None:
    for key in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    profile, options, parts = support
    chosen, left = trials.chosen(profile, options, parts, 600, None)
    assert chosen[0].stack == ("head-ft",)
    assert chosen[0].rows == len(parts.keep)
    ways = [(one.stack, one.name) for one in chosen]
    assert len(set(ways)) == len(ways) <= trials.MOST
    assert all(step.data.test == str(parts.held) for step in chosen[0].plan.steps)
    assert any("no endpoint" in one.because for one in left)
    short, _ = trials.chosen(profile, options, parts, trials.MOST * chosen[0].seconds / 2, None)
    assert 0 < short[0].rows < chosen[0].rows


def test_the_same_work_has_the_same_name_and_other_work_another(support) -> None:
    profile, options, parts = support
    first, again = (trials.chosen(profile, options, parts, 600, None)[0][0] for _ in range(2))
    assert first == again
    fewer = trials.chosen(profile, options, parts, trials.MOST * first.seconds / 2, None)[0][0]
    assert fewer.name != first.name
    assert plans.work(first.plan).steps[0].settings == first.plan.steps[0].settings


def test_the_curve_takes_parts_that_still_fit(support) -> None:
    profile, options, parts = support
    whole = trials.chosen(profile, options, parts, 600, None)[0][0]
    option = next(one for one in options if one.id == whole.option)
    points = trials.curve(profile, option, whole, parts, 600)
    assert [point.stands_for for point in points] == [whole.name] * len(points)
    assert [point.rows for point in points] == [round(s * whole.rows) for s in trials.CURVE]
    assert trials.curve(profile, option, whole, parts, 0) == []


def test_the_best_is_found_among_trials_of_one_metric() -> None:
    few = tried("rag", 0.99, metric="recall@5")
    assert trials.best([tried("a", 0.8), tried("b", 0.9), few, tried("c", None)]).name == "b"
    assert trials.best([tried("c", None)]) is None


def test_measured_rows_are_the_file_that_recommend_reads(support, tmp_path: Path) -> None:
    profile, _, _ = support
    part = Tried("p", "p", ("p",), None, "f", 1.0, {"accuracy": Metric(0.1)}, "accuracy",
                 stands_for="head-ft")  # fmt: skip
    rows = trials.measured([tried("head-ft", 0.91), tried("lora", None), part])
    assert [row.approach for row in rows] == ["head-ft"]
    file = tmp_path / "measured.yaml"
    file.write_text(trials.text(rows), encoding="utf-8")
    assert of(profile, [file]) == rows


def test_no_trial_begins_without_money(support) -> None:
    profile, options, parts = support
    plan = trials.chosen(profile, options, parts, 600, None)[0][0].plan
    assert trials.capped(plan, 2.5).budget_usd == 2.5
    with pytest.raises(UserError, match="the money is used up"):
        trials.capped(plan, 0)


def test_found_passages_without_a_model_are_not_the_quality_of_answers(tmp_path: Path) -> None:
    metrics = {"answer_f1": Metric(0.1), "recall@10": Metric(0.8)}
    plan = Plan("p", (Step("retrieve", "rag"),))
    step = StepResult("retrieve", "rag", metrics, 1.0)
    result = RunResult("p", "finished", (step,), 1.0, None, (), {}, "", "")
    alone = Trial("t", "o", ("rag",), None, plan)
    assert trials.outcome(alone, tmp_path, result).metric == "answer_f1"
    with_model = Trial("t", "o", ("rag", "prompt"), None, plan)
    assert trials.outcome(with_model, tmp_path, result).metric is None
