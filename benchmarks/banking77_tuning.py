"""Every way of tuning a classifier on Banking77, in one table.

    python benchmarks/banking77_tuning.py --data PATH_TO_BANKING77 [--per-class 10] [--seeds 3]

The folder of the data set (https://github.com/PolyAI-LDN/task-specific-datasets, CC BY 4.0) can
also be named by the environment variable BANKING77. Each run is a process of its own, so that its
peak memory is its own; finished runs are kept in `--out` and not repeated, so that a table that was
interrupted goes on. Core minutes are the processor's time, which a busy machine does not lengthen.
The differences to the frozen head are paired: the same test rows.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "tf-idf + linear": ("", {}),
    "head-ft, head": ("head-ft", {"train": "head"}),
    "head-ft, contrastive": ("head-ft", {"train": "contrastive"}),
    "head-ft, last-k": ("head-ft", {"train": "last-k"}),
    "head-ft, all": ("head-ft", {"train": "all"}),
    "lora": ("lora", {}),
    "adapter-sequential": ("adapter-sequential", {}),
    "adapter-parallel": ("adapter-parallel", {}),
    "soft-prompt": ("soft-prompt", {}),
}
HEAD = "head-ft, head"


def rows(path: Path) -> list[tuple[str, str]]:
    """Texts and intents of a file of the data set."""
    with path.open(newline="", encoding="utf-8") as lines:
        return [(row["text"], row["category"]) for row in csv.DictReader(lines)]


def some(listed: Sequence[tuple[str, str]], per_class: int | None, seed: int) -> list[Any]:
    """So many rows of each class, drawn by a seed; all of them in another order for None."""
    drawn = list(listed)
    random.Random(seed).shuffle(drawn)
    if per_class is None:
        return drawn
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for text, label in drawn:
        if seen[label] < per_class:
            seen[label] += 1
            kept.append((text, label))
    return kept


def written(path: Path, listed: Sequence[tuple[str, str]]) -> Path:
    """The rows as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("text", "label"), *listed])
    return path


def one_run(way: str, folder: Path, epochs: float | None, seed: int) -> dict[str, Any]:
    """What one way does with the files of a folder: figures, and what it says to each test row."""
    test = rows_of(folder / "test.csv")
    if not WAYS[way][0]:
        return linear(rows_of(folder / "train.csv"), test)
    import backends
    from backends.base import Context

    step = step_of(way, folder, epochs)
    out = folder / "run" / way.replace(" ", "-").replace(",", "")
    out.mkdir(parents=True, exist_ok=True)
    context = Context(out, seed=seed)
    backend = backends.load(step.method)
    backend.check(step, context)
    busy = time.process_time()
    found = backend.run(step, context)
    busy = time.process_time() - busy
    said = [one.label for one in backend.predict(out, [text for text, _ in test])]
    return {
        "accuracy": found.metrics["accuracy"].value,
        "seconds": found.seconds,
        "busy_seconds": busy,
        "trainable": found.counts["trainable_parameters"] / found.counts["parameters"],
        "peak_bytes": found.peak_memory_bytes,
        "said": said,
    }


def step_of(way: str, folder: Path, epochs: float | None) -> Any:
    """The step of a way, with the files of a folder."""
    from backends.base import Data, Step

    method, settings = WAYS[way]
    if epochs is not None and settings.get("train") != "head":
        settings = {**settings, "epochs": epochs}
    data = Data(train=str(folder / "train.csv"), test=str(folder / "test.csv"))
    settings = {**settings, "compare": False, "max_length": 64}
    return Step("intents", method, "all-minilm-l6-v2", data=data, settings=settings)


def foretold_gib(way: str, asked: argparse.Namespace) -> str:
    """The peak memory that `advisor run` foretells of a way, where no run was before it."""
    os.environ["ADVISOR_CALIBRATION"] = "off"
    from advisor.steps.foretold import foretold
    from backends.base import Plan

    step = step_of(way, asked.out / "seed-0", asked.epochs)
    memory = foretold(Plan("told", (step,))).steps[0].predicted.memory_gib
    return f"{memory.mid:.2f} ({memory.low:.2f} to {memory.high:.2f})" if memory else "unknown"


def linear(train: Sequence[Any], test: Sequence[Any]) -> dict[str, Any]:
    """TF-IDF of words and pairs of words with logistic regression."""
    import psutil
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    begun, busy = time.perf_counter(), time.process_time()
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(C=20, max_iter=1000))
    model.fit([text for text, _ in train], [label for _, label in train])
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    said = [str(label) for label in model.predict([text for text, _ in test])]
    right = sum(a == b for a, (_, b) in zip(said, test, strict=True))
    return {
        "accuracy": right / len(test),
        "seconds": seconds,
        "busy_seconds": busy,
        "trainable": 1.0,
        "peak_bytes": psutil.Process().memory_info().rss,
        "said": said,
    }


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Texts and labels of a file that `written` wrote."""
    with path.open(newline="", encoding="utf-8") as lines:
        return [(row["text"], row["label"]) for row in csv.DictReader(lines)]


def table(found: dict[str, dict[str, Any]], asked: argparse.Namespace, test: Sequence[Any]) -> str:
    """One line a way: means over the seeds that ran, and the paired difference to the head."""
    from backends import evaluate
    from backends.base import Metric

    labels = [label for _, label in test]
    lines = [
        "| way | seeds | accuracy (95 %) | core minutes | trainable | peak GiB "
        "| foretold GiB (80 %) | minus frozen head |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in asked.ways:
        runs = [found[key] for seed in range(asked.seeds) if (key := f"{way}/{seed}") in found]
        if not runs:
            lines.append(f"| {way} | 0 | not run | | | | | |")
            continue
        accuracy: Metric = evaluate.mean(over_seeds([right(run, labels) for run in runs]))
        pairs = [
            (run, found[f"{HEAD}/{seed}"])
            for seed in range(asked.seeds)
            if (run := found.get(f"{way}/{seed}")) and f"{HEAD}/{seed}" in found
        ]
        gain = ""
        if pairs and way != HEAD:
            apart = [
                [a - b for a, b in zip(right(run, labels), right(head, labels), strict=True)]
                for run, head in pairs
            ]
            difference = evaluate.mean(over_seeds(apart))
            word = "pays" if (difference.low or 0) > 0 else "does not pay here"
            gain = (
                f"{100 * difference.value:+.1f} ({100 * (difference.low or 0):+.1f} to "
                f"{100 * (difference.high or 0):+.1f}): {word}"
            )
        mean = {
            key: sum(run[key] for run in runs) / len(runs) for key in ("busy_seconds", "trainable")
        }
        peak = max(run["peak_bytes"] for run in runs) / 2**30
        told = foretold_gib(way, asked) if WAYS[way][0] else ""
        lines.append(
            f"| {way} | {len(runs)} | {accuracy.value:.3f} ({accuracy.low:.3f} to "
            f"{accuracy.high:.3f}) | {mean['busy_seconds'] / 60:.1f} | {mean['trainable']:.2%} | "
            f"{peak:.2f} | {told} | {gain} |"
        )
    return "\n".join(lines)


def right(run: dict[str, Any], labels: Sequence[str]) -> list[float]:
    """1 for each test row that a run answered rightly, else 0."""
    return [float(said == label) for said, label in zip(run["said"], labels, strict=True)]


def over_seeds(scores: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each test row over the seeds: rows are drawn anew for an interval, not runs of
    the same row, which are much alike.
    """
    return [sum(row) / len(row) for row in zip(*scores, strict=True)]


def main() -> None:
    """Run what is not there yet, and print the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("BANKING77"))
    parser.add_argument("--per-class", type=int, help="labels of each intent [default: all]")
    parser.add_argument("--test", type=int, help="test rows, drawn once [default: all 3,080]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, help="[default: each method's own]")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--out", type=Path, default=Path("runs/banking77-tuning"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        way, folder, seed = asked.one
        print(json.dumps(one_run(way, Path(folder), asked.epochs, int(seed))))
        return
    if asked.data is None:
        sys.exit("give --data or set BANKING77 to the folder of the data set")
    source = Path(asked.data)
    source = source / "banking_data" if (source / "banking_data").is_dir() else source
    test = some(rows(source / "test.csv"), None, 0)[: asked.test]
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "runs.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    for seed in range(asked.seeds):
        folder = asked.out / f"seed-{seed}"
        folder.mkdir(exist_ok=True)
        written(folder / "train.csv", some(rows(source / "train.csv"), asked.per_class, seed))
        written(folder / "test.csv", test)
        for way in asked.ways:
            if f"{way}/{seed}" in found:
                continue
            words = [sys.executable, __file__, "--one", way, str(folder), str(seed)]
            words += ["--epochs", str(asked.epochs)] if asked.epochs else []
            said = subprocess.run(words, capture_output=True, text=True, check=False)
            if said.returncode:
                print(f"{way}, seed {seed}: failed\n{said.stderr[-2000:]}", file=sys.stderr)
                continue
            found[f"{way}/{seed}"] = json.loads(said.stdout.splitlines()[-1])
            kept.write_text(json.dumps(found))
            print(f"\nseed {seed}, {way}\n{table(found, asked, test)}", flush=True)
    print(f"\n{table(found, asked, test)}")


if __name__ == "__main__":
    main()
