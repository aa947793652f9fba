"""What only another process shows: a light face, a clean stdout, a kill in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.base import Context, Data, Step
from backends.rag import BACKEND, index

HEAVY = ("torch", "transformers", "sentence_transformers", "faiss", "bm25s", "numpy")
RUN = """
import sys
from pathlib import Path
from backends.base import Context, Data, Step
from backends.rag import BACKEND
corpus, model, folder = sys.argv[1:]
step = Step("x", "rag", model=model, data=Data(corpus=corpus), settings={"batch_size": 1})
BACKEND.run(step, Context(folder=Path(folder), resume=True))
"""


def test_the_face_imports_nothing_heavy() -> None:
    code = f"import sys, backends.rag; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_killed_indexing_leaves_no_index_and_goes_on(tmp_path: Path, tiny: str) -> None:
    corpus, folder = tmp_path / "corpus.jsonl", tmp_path / "run"
    folder.mkdir()
    rows = [{"id": n, "text": f"The key of room {n} is in office {n + 5000}."} for n in range(2000)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [sys.executable, "-c", RUN, str(corpus), tiny, str(folder)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=os.environ) as writer:
        shards = folder / "checkpoints"
        deadline = time.monotonic() + 120
        while len(list(shards.glob("vectors-*.npz"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        assert writer.stdout is not None and writer.stdout.read() == b""
    assert index.found(folder) is None
    data = Data(corpus=str(corpus))
    step = Step("x", "rag", model=tiny, data=data, settings={"batch_size": 64})
    result = BACKEND.run(step, Context(folder=folder, resume=True))
    assert 0 < result.counts["embedded"] <= 2000 - 5 * 8
    (said,) = BACKEND.predict(folder, ["room 1234"], retriever="bm25", k=1)
    assert said.citations[0]["passage"] == rows[1234]["text"]
