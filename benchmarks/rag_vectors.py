"""Exact search against the index chosen by size: clustered vectors, or real embeddings.

    python benchmarks/rag_vectors.py [--vectors 1000000] [--dimensions 384]
    python benchmarks/rag_vectors.py --npy MATRIX.npy

Recall is against exact search, of questions that are no rows of the index. Each measurement of
memory and of opening time is a fresh process that does nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from backends.rag import vectors

ASKED = 1000
OPEN = """
import sys, time
from pathlib import Path
import numpy as np
from backends.rag import vectors
asked = np.load(sys.argv[2])
def held():
    lines = [line.split() for line in open("/proc/self/status") if "kB" in line]
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines}
before = held()
begun = time.perf_counter()
index = vectors.load(Path(sys.argv[1]))
vectors.best(index, asked[:1], 10)
opened = time.perf_counter() - begun
vectors.best(index, asked, 10)
after = held()
peak, own = after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]
print(f"{opened:.3f} {peak:.0f} {own:.0f}")
"""


def clustered(rows: int, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around a thousand centres, and questions drawn alike."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(1000, dimensions)).astype(np.float32)
    made = np.empty((rows + ASKED, dimensions), dtype=np.float32)
    for first in range(0, len(made), 100_000):
        part = made[first : first + 100_000]
        noise = draw.standard_normal(size=part.shape, dtype=np.float32)
        part[:] = centres[draw.integers(0, 1000, len(part))] + 0.8 * noise
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return made[ASKED:], made[:ASKED]


def each(index: object, asked: np.ndarray, repeats: int) -> tuple[float, np.ndarray]:
    """Seconds a question, all asked together; and what was found."""
    vectors.best(index, asked[:8], 10)
    begun = time.perf_counter()
    for _ in range(repeats):
        _, found = vectors.best(index, asked, 10)
    return (time.perf_counter() - begun) / repeats / len(asked), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--npy", type=Path, help="real embeddings: rows of a matrix")
    parser.add_argument("--kind", choices=["flat", "hnsw", "ivf-sq8", "ivf-pq"])
    given = parser.parse_args()
    if given.npy is not None:
        every = np.load(given.npy).astype(np.float32)
        places = np.random.default_rng(0).permutation(len(every))
        rows, asked = every[places[ASKED:]], every[places[:ASKED]]
    else:
        rows, asked = clustered(given.vectors, given.dimensions)
    print(f"{len(rows):,} vectors of {rows.shape[1]}, {len(asked):,} questions")
    exact = vectors.built(rows)
    slow, truth = each(exact, asked[:200], 1)
    slow_alone = np.mean([each(exact, asked[at : at + 1], 1)[0] for at in range(5)])
    del exact
    begun = time.perf_counter()
    index, how = vectors.chosen(rows, given.kind)
    built = time.perf_counter() - begun
    fast, found = each(index, asked, 3)
    alone = np.mean([each(index, asked[at : at + 1], 1)[0] for at in range(50)])
    recall = np.mean(
        [len(set(a) & set(b)) / 10 for a, b in zip(truth, found[: len(truth)], strict=True)]
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "vectors.faiss"
        vectors.save(index, path)
        np.save(Path(scratch) / "asked.npy", asked)
        size = path.stat().st_size
        arguments = [sys.executable, "-c", OPEN, str(path), str(Path(scratch) / "asked.npy")]
        said = subprocess.run(arguments, capture_output=True, text=True, check=True, env=os.environ)
    opened, peak, own = said.stdout.split()
    print(f"{'':22}{'together':>12}{'one by one':>12}{'recall@10':>11}{'size':>10}")
    print(
        f"{'exact':22}{1000 * slow:9.2f} ms{1000 * slow_alone:9.2f} ms{1:11.3f}"
        f"{rows.nbytes / 1e6:7.0f} MB"
    )
    print(
        f"{how.kind:22}{1000 * fast:9.3f} ms{1000 * alone:9.3f} ms{recall:11.3f}"
        f"{size / 1e6:7.0f} MB"
    )
    print(
        f"{slow / fast:.0f} times as fast together, {slow_alone / alone:.0f} times one by one; "
        f"chosen and built in {built:.1f} s; recall measured while building {how.recall_at_10:.3f}"
    )
    print(
        f"opened and asked once in {opened} s; peak memory of {len(asked):,} questions {peak} MiB "
        f"above the imports, {own} MiB of it not the mapped file"
    )


if __name__ == "__main__":
    main()
