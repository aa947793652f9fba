"""A writer to be killed: takes its index from state to state, its vectors precomputed.

    python killed_writer.py FOLDER

forks a writer for every line on stdin (the state to begin with), says its process number, and
`dead` when it is gone: imported once, killed many times. State n of the corpus is six sources
whose texts all say n; each change is one version.
"""

import os
import sys
from pathlib import Path

import numpy as np

from backends.data import Document
from backends.rag import index, vectors, words
from backends.rag.corpus import Given
from backends.rag.index import Index, Manifest
from backends.rag.updating import update

SOURCES = 6
STATES = 500
DIMENSIONS = 8


class Precomputed:
    """An embedder that looks its vectors up; a vector tells source and state."""

    name, fingerprint, precision, engine = "precomputed", "f" * 32, "fp32", "torch"
    dimensions, batch_size = DIMENSIONS, 32

    def starts(self, texts: list[str]) -> list[list[int]]:
        return [[0] for _ in texts]

    def passages(self, texts: list[str]) -> np.ndarray:
        return np.stack([vector_of(text) for text in texts])


def text_of(source: int, state: int) -> str:
    return f"source{source} says state{state}"


def vector_of(text: str) -> np.ndarray:
    made = np.random.default_rng(list(text.encode())).normal(size=DIMENSIONS).astype(np.float32)
    return made / np.linalg.norm(made)


def sources(state: int) -> list[Given]:
    """The sources of a state; every third state lacks the last one, every second adds one."""
    numbers = [n for n in range(SOURCES) if not (state % 3 == 0 and n == SOURCES - 1)]
    numbers += [SOURCES] if state % 2 else []
    return [Given(f"s{n}", str(state), (Document(f"s{n}", text_of(n, state)),)) for n in numbers]


def begin(folder: Path) -> None:
    """Write an empty index."""
    none = np.zeros((0, DIMENSIONS), dtype=np.float32)
    said = Manifest(
        version=index.VERSION,
        embedder="precomputed",
        embedder_path=None,
        embedder_fingerprint=Precomputed.fingerprint,
        dimensions=DIMENSIONS,
        precision="fp32",
        chunk_tokens=50,
        overlap_tokens=0,
        language="none",
        documents=0,
        passages=0,
        retriever="hybrid",
        dense_weight=0.4,
        top_k=5,
        answer_sentences=1,
        abstain_below=0.4,
    )
    index.publish(Index([], vectors.built(none), words.build([], "none")), said, folder)


def state_of(folder: Path) -> int | None:
    """The state that an index is in; fails where it is a mixture of two, or damaged."""
    held, said = index.load(folder)
    if not len(held.chunks):
        return None
    states = {int(chunk.text.rpartition("state")[2]) for chunk in held.chunks}
    assert len(states) == 1, states
    (state,) = states
    given = sources(state)
    assert {c.document: c.text for c in held.chunks} == {
        one.source: one.documents[0].text for one in given
    }
    assert {name: one.digest for name, one in held.catalogue.sources.items()} == {
        one.source: one.digest for one in given
    }
    rows = vectors.at(held.nearest, np.arange(len(held.chunks)))
    expected = np.stack([vector_of(chunk.searched) for chunk in held.chunks])
    assert np.allclose(rows, expected, atol=1e-6)
    for at, chunk in enumerate(held.chunks):
        assert held.words.shares(chunk.text)[at] > 0
    assert said.passages == len(given)
    return state


def write(folder: Path, first: int) -> None:
    for state in range(first, first + STATES):
        given = sources(state)
        now = set(index.load(folder)[0].catalogue.sources)
        gone = now - {one.source for one in given}
        update(folder, given=given, delete=sorted(gone), embedder=Precomputed())
        print(state, flush=True)


def serve(folder: Path) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            write(folder, int(line))
            os._exit(0)
        print(f"pid {child}", flush=True)
        os.waitpid(child, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
