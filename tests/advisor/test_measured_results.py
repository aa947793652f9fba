"""What was measured is read from rows and runs, and overrules expectations."""

import json
from pathlib import Path

import pytest

from advisor import measured
from advisor.measured import Measured
from advisor.profile import read, settled
from advisor.recommendation import recommend
from knowledge.errors import UserError

TASK = {"task_type": "classify", "gap": "behaviour", "labelled_examples": 5000, "n_classes": 20,
        "privacy": "api-ok", "tried": "nothing", "hardware": "none", "train_budget_usd": 500,
        "unlabelled_tokens": 0, "expertise": "dev"}  # fmt: skip


def row(approach: str, value: float, n: int = 400) -> Measured:
    return Measured(approach, "accuracy", value, n=n)


def test_what_was_measured_decides() -> None:
    assert recommend(settled(TASK)).stack == ("head-ft",)
    better = (row("prompt", 0.93), row("head-ft", 0.80))
    advice = recommend(settled(TASK), measured=better)
    assert advice.stack == ("prompt",)
    first = advice.options[0]
    assert first.measured
    assert first.quality is not None
    assert first.quality.mid == 0.93
    assert first.reasons[0].rule == "measured"
    worse = (row("prompt", 0.80), row("head-ft", 0.93))
    assert recommend(settled(TASK), measured=worse).stack == ("head-ft",)


def test_more_than_the_target_counts_for_nothing() -> None:
    both = (row("prompt", 0.93), row("head-ft", 0.99))
    needy = recommend(settled(TASK), measured=both)
    content = recommend(settled({**TASK, "target_quality": 0.9}), measured=both)
    assert needy.stack == ("head-ft",)
    chance = {option.id: option.probability for option in content.options}
    assert chance[needy.options[0].id] < needy.options[0].probability


def test_nothing_measured_lifts_a_veto() -> None:
    private = settled({**TASK, "privacy": "on-prem"})
    advice = recommend(private, measured=(row("lora", 0.99), row("prompt", 0.99)))
    assert all(option.delivery == "self-hosted" for option in advice.options)


def test_an_interval_comes_from_the_items_where_none_is_given() -> None:
    shown = row("prompt", 0.9, n=100).range
    assert 0.8 < shown.low < 0.9 < shown.high < 0.97
    assert Measured("prompt", "accuracy", 0.9).range.low == 0.9


def test_rows_and_runs_are_read(tmp_path: Path) -> None:
    rows = tmp_path / "measured.yaml"
    rows.write_text(
        "measured:\n- {approach: rag+prompt, metric: accuracy, value: 0.7, n: 50}\n"
        "- {approach: prompt, metric: macro_f1, value: 0.9}\n"
        "- {approach: prompt, metric: accuracy, value: 0.6, n: 50}\n"
    )
    (tmp_path / "run").mkdir()
    result = {"plan": "p", "steps": [
        {"name": "i", "method": "rag", "metrics": {"recall@5": {"value": 0.9}}},
        {"name": "a", "method": "prompt", "metrics": {
            "loss": {"value": 3.1}, "accuracy": {"value": 0.75, "low": 0.6, "high": 0.9, "n": 20}}},
    ]}  # fmt: skip
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    (tmp_path / "profile.yaml").write_text("task_type: qa\nmeasured: measured.yaml\n")
    found = measured.of(read(tmp_path / "profile.yaml"), [tmp_path / "run"])
    assert {one.metric for one in found} == {"accuracy"}
    assert found[-1].stack == {"rag", "prompt"}
    assert found[-1].range.low == 0.6
    assert len(found) == 2  # the run's own result stands for the row before it


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no results"),
        ("- {approach: prompts, metric: accuracy, value: 0.5}", "prompts"),
        ("- {approach: prompt, metric: accuracy, value: 52}", "value"),
        ("- {approach: prompt, value: 0.5}", "metric"),
        ("steps: [{method: lora, metrics: {loss: {value: 2.0}}}]", "measured none of"),
    ],
)
def test_bad_files_are_user_errors(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "measured.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        measured.read(path)
