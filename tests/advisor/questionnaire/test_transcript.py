"""The questionnaire driven through a pseudo-terminal, as a person at a keyboard would."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import pytest

from advisor.profile import read
from advisor.questionnaire import QUESTIONS

PROMPT = re.compile(r"\] > $")
PATIENCE_S = 60.0


class Typist:
    """`advisor ask` on a terminal of its own; `shown` is all that was on the screen."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "advisor", "ask", *arguments],
            cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**os.environ, "COLUMNS": "100", "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""},
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> "Typist":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def asked(self) -> str | None:
        """The key that is asked for now; None once the command has ended."""
        begin = len(self.shown)
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            ready, _, _ = select.select([self.ours], [], [], 0.2)
            if ready:
                try:
                    data = os.read(self.ours, 65536)
                except OSError:  # the terminal's other end is closed
                    data = b""
                if not data:
                    self.process.wait(PATIENCE_S)
                    return None
                self.shown += data.decode(errors="replace")
            elif PROMPT.search(self.shown):
                words = " ".join(self.shown[begin:].split())
                places = {key: words.rfind(q.text[:60]) for key, q in QUESTIONS.items()}
                key = max(places, key=lambda name: places[name])
                return key if places[key] >= 0 else "contradiction"
        raise AssertionError(f"no prompt came; the screen shows: {self.shown[-2000:]}")

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode() + b"\n")


@pytest.fixture
def train(tmp_path: Path) -> Path:
    file = tmp_path / "train.csv"
    rows = [f"please refund order {i} to me at person{i}@example.org,label{i % 4}"
            for i in range(300)]  # fmt: skip
    file.write_text("text,label\n" + "\n".join([*rows, rows[0]]) + "\n", encoding="utf-8")
    return file


def test_a_whole_conversation_on_a_terminal(tmp_path: Path, train: Path) -> None:
    with Typist(tmp_path) as person:
        assert person.asked() == "task_type"
        assert re.search(r"Found here: .* cores, .* GiB memory", person.shown)
        person.type("?")
        assert person.asked() == "task_type"
        assert "A label or fields can come from a small trained encoder" in person.shown
        person.type("poetry")
        assert person.asked() == "task_type"
        assert "'poetry' does not fit" in person.shown
        person.type("3")
        assert person.asked() == "gap"
        person.type("b")
        assert person.asked() == "task_type"
        person.type("a label")
        assert person.asked() == "gap"
        person.type("facts")
        assert person.asked() is not None
        person.type("e")
        assert person.asked() is not None
        assert "gap: facts (asked)" in person.shown
        person.type("e gap")
        assert person.asked() == "gap"
        person.type("behaviour")
        assert person.asked() is not None
        os.killpg(person.process.pid, signal.SIGINT)  # Ctrl-C
        assert person.asked() is None
        assert person.process.returncode not in (0, 1, None)
        shown = " ".join(person.shown.split())
        assert "go on with: advisor ask --answers profile.yaml --resume" in shown

    kept = read(tmp_path / "profile.yaml")
    assert (kept.task_type, kept.gap) == ("classify", "behaviour")

    again = ("--answers", "profile.yaml", "--resume", "--out", "profile.yaml")
    with Typist(tmp_path, *again) as person:
        asked = []
        while (key := person.asked()) is not None:
            asked.append(key)
            person.type(str(train) if key == "labelled_examples" else "u")
        assert person.process.returncode == 0
        shown = " ".join(person.shown.split())
        assert "301 texts hold what looks like personal data" in shown
    assert "labelled_examples" in asked
    assert not {"task_type", "gap", "n_classes"} & set(asked)
    done = read(tmp_path / "profile.yaml")
    assert (done.labelled_examples, done.n_classes, done.duplicates) == (301, 4, 1)
    assert (done.personal_data, done.language) == (301, "en")
    assert done.origin["n_classes"] == "counted"

    flags = [f"--set={key}=u" for key, origin in done.origin.items() if origin == "unknown"]
    given = ("task_type=classify", "gap=behaviour", f"data={train}")
    subprocess.run(
        [sys.executable, "-m", "advisor", "ask", "--out", "flags.yaml", "--quiet", *flags,
         *(f"--set={pair}" for pair in given)],
        cwd=tmp_path, check=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert read(tmp_path / "flags.yaml").answers() == done.answers()


def test_a_contradiction_is_asked_once_on_a_terminal(tmp_path: Path, train: Path) -> None:
    answers = tmp_path / "some.yaml"
    answers.write_text(
        f"task_type: classify\ngap: behaviour\nlabelled_examples: 12\ndata: {train}\n"
    )
    with Typist(tmp_path, "--answers", "some.yaml", "--resume", "--out", "p.yaml") as person:
        seen = []
        while (key := person.asked()) is not None:
            seen.append(key)
            person.type("no" if key == "contradiction" else "u")
    assert seen.count("contradiction") == 1
    assert "You said 12 examples but gave train.csv with 301" in " ".join(person.shown.split())
    assert read(tmp_path / "p.yaml").labelled_examples == 12
