"""What changed since an earlier recommendation, and why the answer did or did not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from advisor.profile import settled
from advisor.recommendation import recommend
from advisor.recommendation.records import Since
from advisor.recommendation.since import compared, read
from knowledge.errors import UserError

TASK = {"task_type": "assistant", "gap": "behaviour", "labelled_examples": 5000,
        "privacy": "private-cloud", "hardware": "none", "expertise": "ml",
        "train_budget_usd": 500, "tried": "prompt-insufficient"}  # fmt: skip


def since(folder: Path, now: dict[str, Any], **edited: Any) -> Since:
    """The comparison with the task's own recommendation, its JSON edited."""
    file = folder / "old.json"
    plain = msgspec.to_builtins(recommend(settled(TASK)))
    file.write_bytes(msgspec.json.encode(plain | edited))
    found = compared(recommend(settled(TASK | now)), read(file)).since
    assert found is not None
    return found


def test_nothing_changed_is_said(tmp_path: Path) -> None:
    found = since(tmp_path, {})
    assert found.same_answer
    assert not (found.answers or found.prices or found.models)
    assert "nothing that it rests on has changed" in found.why


def test_the_answer_that_turned_it_is_named(tmp_path: Path) -> None:
    found = since(tmp_path, {"labelled_examples": 10, "latency": "batch"})
    assert not found.same_answer
    assert found.stack == ("lora",)
    assert {change.what for change in found.answers} == {"labelled_examples", "latency"}
    assert "because labelled_examples is 10, was 5,000" in found.why
    assert "latency" not in found.why


def test_a_change_that_reaches_no_flip_is_said(tmp_path: Path) -> None:
    found = since(tmp_path, {"labelled_examples": 5500})
    assert found.same_answer
    assert "no change (labelled_examples) reaches a flip" in found.why


def test_new_prices_and_models_are_told(tmp_path: Path) -> None:
    now = recommend(settled(TASK))
    plain = msgspec.to_builtins(now)
    first = plain["options"][0]
    first["estimate"]["money"]["usd"]["mid"] *= 2
    bases = [name for name in plain["bases"] if name != "qwen3-8b"]
    found = since(tmp_path, {}, options=plain["options"], bases=bases, prices_as_of="2020-01-01")
    assert {change.what for change in found.prices} == {"prices as of", f"cost of {first['id']}"}
    assert [change.what for change in found.models] == ["qwen3-8b"]
    assert found.same_answer


def test_another_answer_for_no_answer_s_sake_is_laid_to_the_catalogue(tmp_path: Path) -> None:
    found = since(tmp_path, {}, stack=["prompt"], delivery="api")
    assert not found.same_answer
    assert "the answers are not why" in found.why


def test_what_is_no_recommendation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="holds no recommendation"):
        read(tmp_path / "x.json")
    with pytest.raises(UserError, match="no file"):
        read(tmp_path / "none.json")
