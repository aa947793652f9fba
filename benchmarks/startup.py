"""How long light commands take to start, beside `python -c "import click, rich"`.

    python benchmarks/startup.py [--runs 15]

Commands take turns, so that a busy machine slows all of them alike; the table gives the median of
whole processes and its ratio to the bare imports. Exit code 1 when a ratio is above 3.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT = 3.0
BARE = "import click, rich"
ADVISOR = str(Path(sys.executable).with_name("advisor"))
ESTIMATE = "estimate llama-3.1-8b --method qlora --gpu rtx-4090 --seq-len 2048 --micro-batch 1"
COMMANDS = {
    BARE: [sys.executable, "-c", BARE],
    "advisor --help": [ADVISOR, "--help"],
    "advisor estimate": [ADVISOR, *ESTIMATE.split()],
    "advisor estimate --json": [ADVISOR, *ESTIMATE.split(), "--json"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process [s]."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> int:
    """Time them all, print the table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--runs", type=int, default=15)
    runs = words.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        seconds(command)  # once unmeasured, to fill caches
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    bare = statistics.median(times[BARE])
    print(f"{'command':<28}{'median ms':>10}{'ratio':>8}")
    worst = 0.0
    for name, measured in times.items():
        ratio = statistics.median(measured) / bare
        worst = max(worst, ratio)
        print(f"{name:<28}{statistics.median(measured) * 1000:>10.0f}{ratio:>8.2f}")
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
