"""The whole flow on the shipped samples, as a user types it: ask, recommend, plan, run, use."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sentence_transformers import SentenceTransformer

from knowledge import SAMPLES

pytestmark = pytest.mark.slow
SUPPORT = SAMPLES / "support"
ANSWERS = SAMPLES / "profile_support.yaml"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan that trains a head on the first messages, written by hand."""
    folder = tmp_path_factory.mktemp("flow")
    plan = {
        "name": "small",
        "steps": [
            {
                "name": "classify",
                "method": "head-ft",
                "model": "all-minilm-l6-v2",
                "data": {
                    "train": str(SUPPORT / "train.csv"),
                    "test": str(SUPPORT / "test.csv"),
                },
                "settings": {"train": "head"},
                "predicted": {
                    "seconds": {"low": 0.1, "mid": 30, "high": 3000},
                    "memory_gib": {"low": 0.01, "mid": 1, "high": 50},
                },
            }
        ],
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    return folder


class Unread(io.StringIO):
    """A standard input that nobody may read: it could wait for ever."""

    def readline(self, *_: object) -> str:
        raise AssertionError("flags alone read nothing")


def test_typing_answers_and_flags_give_one_profile(command, tmp_path: Path, monkeypatch) -> None:
    given = yaml.safe_load(ANSWERS.read_text(encoding="utf-8"))
    given |= {key: str(SAMPLES / given[key]) for key in ("data", "test_data")}
    from_file = command("ask", "--answers", ANSWERS, "--json").json
    pairs = [word for key, value in given.items() for word in ("--set", f"{key}={_typed(value)}")]
    monkeypatch.setattr(sys, "stdin", Unread())
    from_flags = command("ask", *pairs, "--json").json
    for profile in (from_file, from_flags):
        profile.pop("origin")
    assert from_file == from_flags
    assert from_file["labelled_examples"] == 449 and from_file["n_classes"] == 8


def _typed(value: object) -> str:
    return "u" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_from_profile_to_plan(command, tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    assert command("ask", "--answers", ANSWERS, "--out", profile).code == 0
    page, plan = tmp_path / "advice.html", tmp_path / "plan.yaml"
    advice = command("recommend", profile, "--report", page, "--plan-out", plan, "--json").json
    assert advice["verdict"] == "build" and advice["stack"] == ["head-ft"]
    assert advice["options"][0]["reasons"][0]["source"]
    assert advice["flips"] and advice["excluded"] and advice["stages"]
    assert "<svg" in page.read_text() or "<table" in page.read_text()
    made = yaml.safe_load(plan.read_text(encoding="utf-8"))
    assert made == yaml.safe_load(command("plan", profile).out)
    assert made["steps"][0]["predicted"]["seconds"]["high"] > 0


def test_run_predict_evaluate_and_what_is_left_behind(command, small: Path) -> None:
    out = small / "run"
    result = command("run", small / "plan.yaml", "--out", out, "--json").json
    metrics = result["steps"][0]["metrics"]
    assert metrics["accuracy"]["value"] > 0.8
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] < metrics["accuracy"]["high"]
    assert {row["quantity"] for row in result["predicted_vs_measured"]} >= {"time", "peak memory"}
    assert {path.name for path in out.iterdir()} >= {
        "plan.yaml", "result.json", "metrics.jsonl", "report.html", "model",
    }  # fmt: skip
    said = command("predict", out, "i was charged twice", "the lock won't open", "--json").json
    logits = SentenceTransformer(str(out / "model")).encode(["i was charged twice"])
    labels = json.loads((out / "model" / "config.json").read_text())["id2label"]
    assert said[0]["label"] == labels[str(int(logits[0].argmax()))]
    again = command("evaluate", out, "--data", SUPPORT / "test.csv", "--json").json
    assert again["metrics"]["accuracy"]["value"] == pytest.approx(metrics["accuracy"]["value"])
    refused = command("run", small / "plan.yaml", "--out", out)
    assert refused.code == 2 and "holds a run already" in refused.err


def test_a_method_without_a_backend_is_refused_before_anything(command, small: Path) -> None:
    plan = small / "boft.yaml"
    text = (small / "plan.yaml").read_text(encoding="utf-8").replace("head-ft", "boft")
    plan.write_text(text, encoding="utf-8")
    done = command("run", plan, "--out", small / "boft")
    assert done.code == 2 and "no backend runs 'boft' yet" in done.err
    assert not (small / "boft").exists()


def test_a_plan_that_does_not_fit_is_refused_unless_told(command, small: Path) -> None:
    plan = small / "huge.yaml"
    text = (small / "plan.yaml").read_text(encoding="utf-8")
    plan.write_text(text.replace("mid: 1\n", "mid: 90000\n"), encoding="utf-8")
    done = command("run", plan, "--out", small / "huge")
    assert done.code == 2 and "90000.0 GiB" in done.err and "--yes" in done.err


def test_ctrl_c_keeps_the_work_and_resume_finishes_it(small: Path) -> None:
    """A real process in a pseudo-terminal, stopped in training as a person stops it."""
    plan = yaml.safe_load((small / "plan.yaml").read_text(encoding="utf-8"))
    plan["steps"][0]["settings"] = {
        "train": "all", "epochs": 2, "compare": False, "max_length": 16, "save_steps": 2,
    }  # fmt: skip
    path, out = small / "long.yaml", small / "long"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    words = [sys.executable, "-m", "advisor", "run", str(path), "--out", str(out)]
    main, terminal = pty.openpty()
    process = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = _until(main, lambda: any(out.glob("checkpoints/checkpoint-*")), process)
    process.send_signal(signal.SIGINT)
    seen += _until(main, lambda: process.poll() is not None, process)
    assert process.wait() == 130, seen
    assert "--resume" in seen
    done = subprocess.run([*words, "--resume", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "done"


def _until(main: int, ready, process: subprocess.Popen) -> str:
    """What the terminal shows until something is so (two minutes at most)."""
    seen = b""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if select.select([main], [], [], 0.1)[0]:
            try:
                seen += os.read(main, 4096)
            except OSError:
                break
        if ready() or process.poll() is not None:
            break
    return seen.decode(errors="replace")
