"""Peak memory and speed of a curation at one size and at ten times that size.

    python benchmarks/curation_memory.py DOCS.jsonl [--megabytes 10] [--settings '{}']

The corpora are made of the sentences of DOCS (`text`) in a random order, one in ten documents a
changed copy of another; each is curated by a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from random import Random

CHILD = """
import json, sys, time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from backends.base import Context, Data, Step, load
source, folder, settings = sys.argv[1:]
Path(folder).mkdir()
step = Step("curate", "curate", data=Data(corpus=source), settings=json.loads(settings))
core, begun = time.process_time(), time.perf_counter()
result = load("curate").run(step, Context(folder=Path(folder)))
core, wall = time.process_time() - core, time.perf_counter() - begun
counts = result.counts
print(json.dumps({"core": core, "wall": wall, "peak": getrusage(RUSAGE_SELF).ru_maxrss * 1024,
                  "read": counts["documents_read"], "kept": counts["documents_kept"]}))
"""


def write(path: Path, sentences: list[str], size: int) -> None:
    """Documents of about 3 kB until the file has its size."""
    random = Random(3)
    recent: deque[list[str]] = deque(maxlen=1000)
    written = number = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            chosen = random.sample(sentences, 30)
            if recent and random.random() < 0.1:
                chosen = [*random.choice(recent)[:-2], *chosen[:2]]
            recent.append(chosen)
            written += file.write(json.dumps({"id": number, "text": " ".join(chosen)}) + "\n")
            number += 1


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("docs", type=Path)
    asked.add_argument("--megabytes", type=float, default=10.0)
    asked.add_argument("--settings", default="{}")
    given = asked.parse_args()
    texts = [json.loads(line)["text"] for line in given.docs.read_text().splitlines()]
    sentences = sorted({s.strip() for t in texts for s in t.replace("\n", " ").split(". ") if s})
    print("| raw text | documents | kept | peak memory | MB per core second | MB per second |")
    print("|---|---|---|---|---|---|")
    for factor in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "raw.jsonl"
            write(source, sentences, int(factor * given.megabytes * 1e6))
            size = source.stat().st_size / 1e6
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(source), f"{folder}/run", given.settings],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        said = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {size:.0f} MB | {said['read']:,} | {said['kept']:,} | {said['peak'] / 2**20:.0f} "
            f"MiB | {size / said['core']:.2f} | {size / said['wall']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
