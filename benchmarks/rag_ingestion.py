"""From a folder to an index: passages a second beside the bare encoder's, and 1 % updated.

    python benchmarks/rag_ingestion.py --data PATH_TO_A_FOLDER [--files 60] [--peers]

Every row embeds the same passages with the packaged encoder, in one process, the model loaded
before. `plain torch` is what frameworks do as their documentation sets them up: the same model in
fp32, 32 passages at a time; `bare encoder` is this program's engine with nothing around it.
Copy the folder of the Rust book (https://github.com/rust-lang/book, MIT or Apache-2.0), for one.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rag_peers

from backends import weights
from backends.base import Context, Data, Step
from backends.rag import BACKEND, building, embedder, index, updating


def timed(label: str, passages: int, seconds: float, base: float) -> None:
    rate = passages / seconds
    print(f"{label:34}{passages:8}{seconds:9.1f} s{rate:9.1f} /s{rate / base:8.2f}")


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
    parser.add_argument("--peers", action="store_true", help="time other libraries too")
    asked = parser.parse_args()
    if not asked.data.is_dir():
        sys.exit(f"no folder {str(asked.data)!r}; name one with --data")
    model = embedder.load(embedder.DEFAULT_MODEL)
    load = embedder.load
    with tempfile.TemporaryDirectory() as scratch:
        corpus = copied(asked.data, Path(scratch) / "corpus", asked.files)
        run = Path(scratch) / "run"
        run.mkdir()
        step = Step("answer", "rag", data=Data(corpus=str(corpus)))
        building.embedder.load = lambda *_: model  # loaded before, for every row
        begun = time.perf_counter()
        result = BACKEND.run(step, Context(folder=run))
        whole = time.perf_counter() - begun
        building.embedder.load = load
        held, said = index.load(run)
        texts = sorted({chunk.searched for chunk in held.chunks}, key=len, reverse=True)
        print(f"{result.counts['documents']} documents, {said.engine} in {said.precision}")
        print(f"{'':34}{'passages':>8}{'time':>11}{'rate':>12}{'to bare':>8}")
        begun = time.perf_counter()
        mine = model.passages(texts)
        bare = time.perf_counter() - begun
        base = len(texts) / bare
        timed("bare encoder", len(texts), bare, base)
        timed("ingestion, whole", result.counts["passages"], whole, base)
        part = texts[:: max(len(texts) // 200, 1)]
        plain = load(embedder.DEFAULT_MODEL)
        begun = time.perf_counter()
        exact = plain.passages(part)
        slow = time.perf_counter() - begun
        timed("plain torch in fp32", len(part), slow, base)
        if asked.peers:
            folder = weights.local(embedder.DEFAULT_MODEL)
            for name, index_with in rag_peers.indexers():
                begun = time.perf_counter()
                index_with(part, folder)
                timed(
                    f"{name}, model loading included", len(part), time.perf_counter() - begun, base
                )
        ahead = (result.counts["passages"] / whole) / (len(part) / slow)
        print(f"ingestion is {ahead:.2f} times plain torch")
        places = {text: at for at, text in enumerate(texts)}
        same = np.sum(exact * mine[[places[text] for text in part]], axis=1)
        print(f"least cosine to plain torch in fp32: {same.min():.4f}")
        changed = max(round(result.counts["documents"] / 100), 1)
        for path in sorted(p for p in corpus.rglob("*") if p.is_file())[::100][:changed]:
            path.write_text(path.read_text(encoding="utf-8") + "\n\nOne more line.\n")
        for path in sorted(p for p in corpus.rglob("*") if p.is_file())[50::100][:changed]:
            path.write_text(path.read_text(encoding="utf-8").replace(". ", ", so. ", 3))
        change = updating.update(run, embedder=model)
        ratio = change.seconds / whole
        print(
            f"{change.replaced} of {result.counts['documents']} files changed: "
            f"{change.seconds:.2f} s, {change.embedded} passages embedded, "
            f"{ratio:.4f} of the ingestion"
        )


if __name__ == "__main__":
    main()
