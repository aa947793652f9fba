"""`advisor update` on a real index of two pages."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "keys.md").write_text("# Keys\n\nEvery room has one key.\n")
    (folder / "leave.md").write_text("# Leave\n\nStaff may take ten days of leave.\n")
    return folder


@pytest.fixture
def run(tmp_path: Path, pages: Path, command) -> Path:
    plan = tmp_path / "plan.yaml"
    step = {"name": "answer", "method": "rag", "data": {"corpus": str(pages)}}
    plan.write_text(yaml.safe_dump({"name": "pages", "steps": [step]}))
    out = tmp_path / "run"
    command("run", str(plan), "--out", str(out), "--quiet")
    return out


@pytest.mark.slow
def test_an_index_follows_its_documents(run: Path, pages: Path, command) -> None:
    same = command("update", str(run))
    assert "nothing changed: 2 sources, 2 passages" in same.out
    (pages / "doors.html").write_text("<h1>Doors</h1><p>The blue door is locked at ten.</p>")
    (pages / "leave.md").unlink()
    change = command("update", str(run), "--json").json
    assert (change["added"], change["deleted"], change["embedded"]) == (1, 1, 1)
    said = command("predict", str(run), "When is the blue door locked?", "--json").json
    assert said[0]["citations"][0]["document"] == "doors.html"
    gone = command("update", str(run), "--delete", "doors.html").out
    assert "1 deleted" in gone
    for arguments, message in (
        (["--delete", "doors.html"], "the index has no source 'doors.html'"),
        (["--delete", "keys.md", "--watch"], "goes with neither"),
        (["--corpus", "gone"], "no folder or file 'gone'"),
    ):
        fault = command("update", str(run), *arguments)
        assert fault.code == 2 and message in fault.err


def heeding_interrupts() -> None:
    """What a shell starts in the background ignores interrupts, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_a_watched_folder_is_followed_until_the_user_stops_it(run: Path, pages: Path) -> None:
    arguments = [sys.executable, "-m", "advisor", "update", str(run), "--watch", "--json"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
        preexec_fn=heeding_interrupts,
    ) as watcher:  # fmt: skip
        assert watcher.stderr is not None and watcher.stdout is not None
        while "watching" not in watcher.stderr.readline():
            pass
        until, number = time.monotonic() + 60, 0
        while not (run / "index" / "000002").exists() and time.monotonic() < until:
            number += 1
            (pages / f"new{number}.txt").write_text(f"The red door {number} is open.")
            time.sleep(0.5)
        time.sleep(1)
        watcher.send_signal(signal.SIGINT)
        said = watcher.stdout.read()
    assert '"added": ' in said and watcher.returncode in (0, 130)
