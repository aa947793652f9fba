"""From a folder to an index: passages a second beside the bare encoder's, and 1 % updated.

    python benchmarks/rag_ingestion.py --data PATH_TO_A_FOLDER [--files 60] [--rounds 3] [--peers]

Every row embeds the same passages with the packaged encoder in one process, all rows in turn,
several rounds; printed are medians, and the ratios' range over the rounds. Models are loaded
before, for every row. `bare encoder` is this program's engine with nothing around it; `plain
torch` is the same model in fp32, 32 passages at a time; the other libraries are set up as their
documentation does it. Rows slower than the engine take every n-th passage of all lengths.
Copy the folder of the Rust book (https://github.com/rust-lang/book, MIT or Apache-2.0), for one.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rag_peers
from py3langid import langid

from backends import weights
from backends.base import Context, Data, Step
from backends.rag import BACKEND, building, embedder, index, updating


class Times:
    """Passages a second of each row, round by round."""

    def __init__(self) -> None:
        self.rates: dict[str, list[float]] = {}
        self.passages: dict[str, int] = {}

    def take(self, row: str, work: Callable[[list[str]], Any], texts: list[str]) -> Any:
        """What work makes of texts, timed."""
        begun = time.perf_counter()
        outcome = work(texts)
        self.add(row, len(texts), time.perf_counter() - begun)
        return outcome

    def add(self, row: str, passages: int, seconds: float) -> None:
        """One round of a row."""
        self.rates.setdefault(row, []).append(passages / seconds)
        self.passages[row] = passages
        print(f"  {row}: {passages / seconds:.1f} /s", flush=True)

    def show(self, to: str, whole: str) -> None:
        """A line a row: its median rate, to that of `to`, and how many times as fast `whole` is."""
        print(f"{'':22}{'passages':>9}{'a second':>10}{'to bare':>9}{'':14}{'ingestion is':>14}")
        for row, rates in self.rates.items():
            shares = sorted(one / base for one, base in zip(rates, self.rates[to], strict=True))
            times = median(a / b for a, b in zip(self.rates[whole], rates, strict=True))
            print(
                f"{row:22}{self.passages[row]:9}{median(rates):10.1f}{median(shares):9.3f}"
                f" {shares[0]:.3f}-{shares[-1]:.3f} {times:11.2f} x"
            )


def copied(source: Path, folder: Path, files: int) -> Path:
    """Some of the files, evenly drawn."""
    every = sorted(path for path in source.rglob("*") if path.is_file())
    kept = [every[int(at)] for at in np.linspace(0, len(every) - 1, min(files, len(every)))]
    for path in dict.fromkeys(kept):
        place = folder / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", required=True, type=Path, help="a folder of documents")
    parser.add_argument("--files", type=int, default=100, help="how many of its files to take")
    parser.add_argument("--rounds", type=int, default=3, help="of all rows in turn")
    parser.add_argument("--sample", type=int, default=120, help="passages of the slow rows")
    parser.add_argument("--peers", action="store_true", help="time other libraries too")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        sys.exit(f"no folder {str(asked.data)!r}; name one with --data")
    load, times = embedder.load, Times()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = copied(asked.data, Path(scratch) / "corpus", asked.files)
        step = Step("answer", "rag", data=Data(corpus=str(corpus)))
        bare, plain = load(embedder.DEFAULT_MODEL), load(embedder.DEFAULT_MODEL)
        peers = []
        if asked.peers:
            peers = list(rag_peers.indexers(weights.local(embedder.DEFAULT_MODEL)))
        texts: list[str] = []
        for turn in range(asked.rounds):
            run = Path(scratch) / f"run-{turn}"
            run.mkdir()
            model = load(embedder.DEFAULT_MODEL)
            building.embedder.load = lambda *_, model=model: model
            langid.IDENTIFIER = None  # its tables are read in each run, not in each process
            begun = time.perf_counter()
            result = BACKEND.run(step, Context(folder=run))
            spent = time.perf_counter() - begun
            building.embedder.load = load
            if not texts:
                held, said = index.load(run)
                # Equal passages are embedded once; the longest first.
                texts = sorted({one.searched for one in held.chunks}, key=len, reverse=True)
                bare.settle(said.precision, texts, said.engine)
                print(f"{result.counts['documents']} documents, {said.engine} in {said.precision}")
                bare.passages(texts[:32])  # the first call prepares, here too
            times.add("ingestion, whole", len(texts), spent)
            mine = times.take("bare encoder", bare.passages, texts)
            part = texts[turn :: max(len(texts) // asked.sample, 1)]
            exact = times.take("plain torch in fp32", plain.passages, part)
            for name, index_with in peers:
                times.take(name, index_with, part)
        times.show("bare encoder", "ingestion, whole")
        places = {text: at for at, text in enumerate(texts)}
        same = np.sum(exact * mine[[places[text] for text in part]], axis=1)
        print(f"least cosine to plain torch in fp32: {same.min():.4f}")
        updated(run, corpus, model, result.counts["documents"], spent)


def updated(run: Path, corpus: Path, model: Any, documents: int, whole: float) -> None:
    """Change one file in a hundred, and print what bringing the index up to date took."""
    changed = max(round(documents / 100), 1)
    for path in sorted(p for p in corpus.rglob("*") if p.is_file())[::100][:changed]:
        path.write_text(path.read_text(encoding="utf-8") + "\n\nOne more line.\n")
    for path in sorted(p for p in corpus.rglob("*") if p.is_file())[50::100][:changed]:
        path.write_text(path.read_text(encoding="utf-8").replace(". ", ", so. ", 3))
    change = updating.update(run, embedder=model)
    print(
        f"{change.replaced} of {documents} files changed: {change.seconds:.2f} s, "
        f"{change.embedded} passages embedded, {change.seconds / whole:.4f} of the ingestion"
    )


if __name__ == "__main__":
    main()
