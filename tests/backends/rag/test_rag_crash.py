"""A writer killed at random points: the index is in the old state or the new one, never between.

Ten kills here; more by command: KILLS=100 python -m pytest tests/backends/rag/test_rag_crash.py
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from killed_writer import begin, state_of, write

KILLS = int(os.environ.get("KILLS", "10"))
WRITER = Path(__file__).with_name("killed_writer.py")


@pytest.mark.slow
@pytest.mark.timeout(120 + 5 * KILLS)
def test_a_killed_writer_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    begin(tmp_path)
    chance, state = random.Random(7), 0
    torn: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        """A reader at work all the time must never see a mixture either."""
        while not stop.is_set():
            try:
                state_of(tmp_path)
            except BaseException as error:
                torn.append(error)
                return
            time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, str(WRITER), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    try:
        with subprocess.Popen(command, **pipes) as nursery:  # type: ignore[call-overload]
            for _ in range(KILLS):
                told = killed(nursery, state + 1, chance)
                after = state_of(tmp_path)
                assert after in (told, told + 1)
                state = after
            nursery.stdin.close()
    finally:
        stop.set()
        reader.join()
    assert not torn
    leftovers = {path.name for path in (tmp_path / "index").iterdir()}
    write_once(tmp_path, state + 1)
    tidy = {path.name for path in (tmp_path / "index").iterdir() if path.is_dir()}
    assert len(tidy) == 2, f"what killed writers left was kept: {leftovers}"


def killed(nursery: Any, state: int, chance: random.Random) -> int:
    """Let a writer work from a state on, kill it, and give the last state that it finished."""
    print(state, file=nursery.stdin, flush=True)
    pid = int(nursery.stdout.readline().removeprefix("pid "))
    told = nursery.stdout.readline()
    for _ in range(chance.randrange(3)):
        told = nursery.stdout.readline()
    time.sleep(chance.random() * 0.03)
    os.kill(pid, signal.SIGKILL)
    while (line := nursery.stdout.readline().strip()) != "dead":
        assert line, "the writer failed by itself"
        told = line
    return int(told)


def write_once(folder: Path, state: int) -> None:
    import killed_writer

    killed_writer.STATES, states = 1, killed_writer.STATES
    try:
        write(folder, state)
    finally:
        killed_writer.STATES = states
    assert state_of(folder) == state
