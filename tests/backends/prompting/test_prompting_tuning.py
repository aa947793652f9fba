"""Fine-tuning by the provider: started once, resumed, capped, and its model asked."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking_runs import loopback
from loopback import Loopback

from backends.base import Context, Data, Interrupted, Step
from backends.prompting import BACKEND
from knowledge.errors import UserError

TUNING = {"epochs": 2, "usd_per_1m_training": 1000.0, "poll_s": 0.02, "suffix": "mine"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    yield from loopback(monkeypatch)


def step(folder: Path, count: int = 20, **settings: Any) -> Step:
    for name, size in (("train", count), ("test", 4), ("held", 6)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([f"{name} {n}", ("card", "transfer")[n % 2]] for n in range(size))
    data = Data(
        train=str(folder / "train.csv"), test=str(folder / "test.csv"),
        validation=str(folder / "held.csv"),
    )  # fmt: skip
    usual = {"cache": False, "tuning": TUNING, "usd_per_1m_input": 100, "usd_per_1m_output": 400}
    return Step("ask", "prompt", model="base", data=data, settings={**usual, **settings})


def test_a_tuned_model_is_asked_and_saved(server: Loopback, tmp_path: Path) -> None:
    asked = step(tmp_path)
    BACKEND.check(asked, Context(tmp_path, budget_usd=100.0))
    result = BACKEND.run(asked, Context(tmp_path, budget_usd=100.0))
    assert {body["model"] for body in server.bodies} == {"ft:base"}
    assert len(server.jobs) == 1 and len(server.files) == 2
    lines = [json.loads(line) for line in server.files[0].splitlines()]
    assert len(lines) == 20
    assert lines[1]["messages"][-1] == {"role": "assistant", "content": "transfer"}
    assert lines[1]["messages"][0]["content"].endswith("Text: train 1\nLabel:")
    assert server.bodies[0]["messages"][0]["content"].endswith("Label:")
    job = server.jobs[0]
    assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}
    assert job["suffix"] == "mine" and job["validation_file"] == "file-2"
    assert result.usd == pytest.approx(server.usd + 1000 * 1000 / 1e6)
    assert not any("never came" in note for note in result.notes)
    list(BACKEND.predict(tmp_path, ["a new one"]))
    assert server.bodies[-1]["model"] == "ft:base"


def test_a_stopped_tuning_is_watched_again_not_started_again(
    server: Loopback, tmp_path: Path
) -> None:
    server.looks = 10**6
    asked = step(tmp_path)
    stops = iter([False] * 3)
    with pytest.raises(Interrupted, match=r"ftjob-1 goes on at 127\.0\.0\.1"):
        BACKEND.run(asked, Context(tmp_path, should_stop=lambda: next(stops, True)))
    server.looks = 0
    result = BACKEND.run(asked, Context(tmp_path, resume=True))
    assert len(server.jobs) == 1 and len(server.files) == 2
    assert result.usd == pytest.approx(server.usd + 1.0)
    again = BACKEND.run(asked, Context(tmp_path, resume=True))
    assert len(server.jobs) == 1 and again.usd == result.usd


def test_a_kill_before_the_job_was_noted_starts_no_second(server: Loopback, tmp_path: Path) -> None:
    server.looks = 10**6
    asked = step(tmp_path)
    (tmp_path / "step.json").write_bytes(msgspec.json.encode(asked))
    program = (
        "import sys, msgspec; from pathlib import Path; from backends.base import Context, Step; "
        "from backends.prompting import BACKEND; "
        "step = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Step); "
        "BACKEND.run(step, Context(Path(sys.argv[1]).parent))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "step.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while not server.jobs and child.poll() is None:
        time.sleep(0.002)
    time.sleep(0.2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    told = json.loads((tmp_path / "tuning.json").read_text())
    del told["job"]  # as if the process had died between the answer and the note
    (tmp_path / "tuning.json").write_text(json.dumps(told))
    server.looks = 0
    result = BACKEND.run(asked, Context(tmp_path, resume=True))
    assert len(server.jobs) == 1
    assert result.usd == pytest.approx(server.usd + 1.0)
    assert result.counts["resent"] == 0


def test_what_cannot_be_tuned_is_one_line(server: Loopback, tmp_path: Path) -> None:
    def refused(asked: Step, **how: Any) -> str:
        with pytest.raises(UserError) as caught:
            BACKEND.check(asked, Context(tmp_path, **how))
            BACKEND.run(asked, Context(tmp_path, **how))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    said = refused(step(tmp_path), budget_usd=2.0)
    assert "tuning may cost" in said and "2 USD is left" in said
    assert "at least 10 training examples" in refused(step(tmp_path, count=8))
    assert "without a price of training" in refused(
        step(tmp_path, tuning={"poll_s": 0.1}), budget_usd=9.0
    )
    assert "reasoning" in refused(step(tmp_path, reasoning=True))
    assert not server.jobs and not server.files
    server.job_ends = "failed"
    assert "ftjob-1 failed: the file is odd" in refused(step(tmp_path))
    server.key = "another"
    said = refused(step(tmp_path, tuning={**TUNING, "epochs": 4}))
    assert "refuses the key (401)" in said and "sk-of-the-test" not in said
