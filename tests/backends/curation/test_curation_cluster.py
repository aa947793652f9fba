"""The pipeline under datatrove's executors does what it does in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("datatrove")

from backends.base import Context
from backends.curation import Settings, corpus
from backends.curation.cluster import counted, executors
from backends.curation.publishing import published
from backends.curation.sieves import Sieves
from backends.curation.sifting import sifted
from knowledge import SAMPLES

SCRIPT = """
import sys
from pathlib import Path
from backends.curation import Settings
from backends.curation.cluster import executors
if __name__ == "__main__":
    out = Path(sys.argv[2])
    for executor in executors("here", sys.argv[1], out, Settings(validation=0.0), 3, workers=1):
        executor.run()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in sorted((SAMPLES / "handbook").glob("*.md"))[:9]:
        (folder / path.name).write_bytes(path.read_bytes())
    text = (folder / "about.md").read_text()
    (folder / "z-exact.md").write_text(text.upper())
    (folder / "z-near.md").write_text(f"{text} And one sentence more.")
    (folder / "z-short.md").write_text("short")
    return folder


def test_tasks_together_keep_what_one_process_keeps(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    # a process of its own: datatrove's logger and its pool stay out of this one
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script), str(source), str(tmp_path / "out")],
        capture_output=True, text=True, check=False, env=environment, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    files = sorted((tmp_path / "out" / "corpus").iterdir())
    together = {line.id: line.text for line in corpus.lines(files)}

    work, alone = tmp_path / "work", tmp_path / "alone"
    alone.mkdir()
    settings = Settings(validation=0.0)
    ledger = sifted(str(source), Sieves(settings), None, Context(folder=tmp_path), work)
    published(work, alone, settings, 13, ledger)
    single = {line.id: line.text for line in corpus.lines(corpus.curated_parts(alone)[0])}
    assert len(files) == 3
    assert len(together) == len(single) == 9  # which of three copies stays depends on the order
    assert {k: v for k, v in together.items() if k in single} == {
        k: v for k, v in single.items() if k in together
    }
    counts = counted(tmp_path / "out")
    assert (counts.read.documents, counts.tallies["gopher-words"].dropped.documents) == (12, 1)


def test_stages_wait_for_one_another(tmp_path: Path) -> None:
    first, second, third = executors("here", "raw", tmp_path, Settings(), 4)
    assert (first.tasks, second.tasks, third.tasks) == (4, 1, 4)
    assert (second.depends, third.depends) == (first, second)
    slurm = executors("slurm", "raw", tmp_path, Settings(), 4, time="01:00:00", partition="cpu")
    assert [one.time for one in slurm] == ["01:00:00"] * 3
    assert len(executors("here", "raw", tmp_path, Settings(duplicates="keep"), 4)) == 1
