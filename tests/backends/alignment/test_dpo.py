"""DPO: what it does to a model, beside the model it started from."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import toys

from backends import runner
from backends.alignment import adapting
from knowledge.errors import UserError

FAST: dict[str, Any] = {
    "learning_rate": 2e-3, "max_steps": 30, "micro_batch": 12, "save_steps": 15,
    "precision": "fp32", "answer_tokens": 6, "samples_scored": 12, "reward": f"format:{toys.LIKED}",
}  # fmt: skip


@pytest.mark.parametrize(("adapter", "loss"), [("none", "sigmoid"), ("lora", "sigmoid"),
                                               ("none", "ipo")])  # fmt: skip
def test_a_model_comes_to_say_what_is_preferred(
    taught: Path, tmp_path: Path, adapter: str, loss: str
) -> None:
    pairs = toys.preferences(tmp_path / "pairs.jsonl")
    rate = 1e-2 if adapter == "lora" else 2e-3
    settings = {**FAST, "adapter": adapter, "loss": loss, "learning_rate": rate, "sft_weight": 1.0}
    plan = toys.plan("dpo", taught, pairs, **settings)
    done = runner.run(plan, tmp_path / "run").steps[0]
    found = done.metrics
    assert found["reward_after"].value > found["reward_before"].value + 0.3
    assert found["win_rate"].value > 0.6
    assert found["reward_accuracy"].value > 0.9 and found["reward_margin"].value > 0
    assert 0 < found["kl"].value < 30
    assert found["perplexity_before"].value > 1
    said = [one.answer for one in adapting.load(tmp_path / "run").predictions(toys.questions())]
    assert said.count(toys.LIKED) >= 10
    assert (tmp_path / "run" / "answers.jsonl").is_file()
    assert not any("fine-tune on answers first" in note for note in done.notes)


def test_a_model_that_cannot_write_such_answers_is_warned_about(tmp_path: Path) -> None:
    base = tiny_llama.model_folder(tmp_path / "untaught")
    pairs = toys.preferences(tmp_path / "pairs.jsonl", each=1)
    plan = toys.plan("dpo", base, pairs, **{**FAST, "max_steps": 2, "samples_scored": 0})
    done = runner.run(plan, tmp_path / "run").steps[0]
    assert any("fine-tune on answers first" in note for note in done.notes)
    assert any(
        "Too few preference pairs" in note and "1,000 or more" in note for note in done.notes
    )
    assert "kl" not in done.metrics and math.isfinite(done.metrics["reward_margin"].value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "exo_pair"}, "needs label_smoothing"),
        ({"reward": "nothing"}, "nothing known and no folder"),
        ({"rollouts": 3}, "means nothing to dpo"),
        ({"adapter": "lora", "targets": "nosuch"}, "target 'nosuch'"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    taught: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    plan = toys.plan("dpo", taught, toys.preferences(tmp_path / "pairs.jsonl"), **settings)
    with pytest.raises(UserError, match=said):
        runner.run(plan, tmp_path / "run")
