"""Labels from a teacher: an endpoint's answers, or what a larger tuned model says."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bert
import torch

from backends import runner
from backends.base import Context, Data, Plan, Step
from backends.finetune import BACKEND
from knowledge.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "prompting"))
from loopback import serving

TUNED: dict[str, Any] = {
    "epochs": 15, "micro_batch": 16, "learning_rate": 3e-3, "head_learning_rate": 1e-2,
    "precision": "fp32", "compare": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_bert.model_folder(folder / "large")
    tiny_bert.model_folder(folder / "small", layers=1)
    tiny_bert.csv_file(folder / "train.csv", tiny_bert.rows(120, seed=1))
    tiny_bert.csv_file(folder / "test.csv", tiny_bert.rows(90, seed=2))
    lines = [json.dumps({"text": text}) for text, _ in tiny_bert.rows(200, seed=3)]
    (folder / "unlabelled.jsonl").write_text("\n".join(lines))
    return folder


def student(place: Path, train: str, **settings: Any) -> Step:
    data = Data(train=train, test=str(place / "test.csv"))
    return Step(
        "student", "full-ft", str(place / "small"), data=data, settings={**TUNED, **settings}
    )


def kind_of(text: str) -> str:
    """What an endpoint that knows the language says."""
    said = [kind for kind, words in tiny_bert.KINDS.items() if set(words) & set(text.split())]
    return said[0] if said else "card"


def test_an_endpoint_s_answers_are_learnt(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as state:
        state.reply = lambda asked: kind_of(asked.rsplit("Text:", 1)[-1])
        monkeypatch.setenv("OPENAI_BASE_URL", state.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-test")
        settings = {
            "labels": ["card", "loan", "trip"],
            "cache": False,
            "template": "Text:{{ text }}",
        }
        ask = Step(
            "ask", "prompt", "large",
            data=Data(test=str(place / "unlabelled.jsonl")), settings=settings,
        )  # fmt: skip
        plan = Plan("distil", (ask, student(place, "step:ask")))
        result = runner.run(plan, tmp_path / "run")
        asked = state.answered
        again = runner.run(plan, tmp_path / "run", resume=True)
    assert asked == 200 == state.answered
    assert result.steps[1].metrics["accuracy"].value > 0.8
    assert result.steps[1].counts["train"] == 200
    assert again.steps[1].metrics == result.steps[1].metrics
    written = tmp_path / "run" / "steps" / "ask" / "labelled.jsonl"
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert all(row["label"] == kind_of(row["text"]) for row in rows)


def test_a_tuned_model_is_compared_with_a_prompt_on_the_same_rows(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as state:
        state.reply = lambda asked: "card" if "card" in asked else kind_of(asked)
        monkeypatch.setenv("OPENAI_BASE_URL", state.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-test")
        settings = {"cache": False, "template": "{{ text }}"}
        data = Data(train=str(place / "train.csv"), test=str(place / "test.csv"))
        ask = Step("ask", "prompt", "large", data=data, settings=settings)
        tuned = student(place, str(place / "train.csv"), against="step:ask")
        found = runner.run(Plan("compare", (ask, tuned)), tmp_path / "run").steps
        metrics = found[1].metrics
        assert metrics["baseline_prompting_accuracy"] == found[0].metrics["accuracy"]
        gain = metrics["gain_over_prompting"]
        assert gain.value == pytest.approx(
            metrics["accuracy"].value - found[0].metrics["accuracy"].value
        )
        assert (
            gain.low is not None and gain.high is not None and gain.low <= gain.value <= gain.high
        )
        few = msgspec.structs.replace(ask, settings={**settings, "limit": 5})
        with pytest.raises(UserError, match="was not asked about 85 of 90 test rows"):
            runner.run(Plan("compare", (few, tuned)), tmp_path / "few")


def test_a_larger_model_s_labels_are_learnt(place: Path, tmp_path: Path) -> None:
    large = msgspec.structs.replace(
        student(place, str(place / "train.csv"), abstain_below=0.5),
        name="large", model=str(place / "large"),
    )  # fmt: skip
    small = student(place, str(place / "unlabelled.jsonl"), labels_from="step:large")
    result = runner.run(Plan("distil", (large, small)), tmp_path / "run")
    taught = [json.loads(line) for line in
              (tmp_path / "run" / "labelled.jsonl").read_text().splitlines()]  # fmt: skip
    said = {
        one.text: one.label
        for one in BACKEND.predict(
            tmp_path / "run" / "steps" / "large", [r["text"] for r in taught]
        )
    }
    assert all(said[row["text"]] == row["label"] for row in taught)
    assert 150 < len(taught) == result.steps[1].counts["train"]
    assert result.steps[1].metrics["accuracy"].value > 0.7
    again = student(place, str(place / "unlabelled.jsonl"), labels_from=str(tmp_path / "run"))
    (tmp_path / "again").mkdir()
    BACKEND.check(again, Context(tmp_path / "again"))


@pytest.mark.parametrize(
    ("train", "settings", "says"),
    [
        ("step:nobody", {}, "no earlier step has that name"),
        ("unlabelled.jsonl", {"labels_from": "step:nobody"}, "no earlier step has that name"),
        ("unlabelled.jsonl", {"labels_from": "nowhere"}, "holds no finished run"),
    ],
)
def test_teachers_that_are_not_there_are_refused(
    place: Path, tmp_path: Path, train: str, settings: dict[str, Any], says: str
) -> None:
    path = train if train.startswith("step:") else str(place / train)
    with pytest.raises(UserError, match=says):
        BACKEND.check(student(place, path, **settings), Context(tmp_path))
