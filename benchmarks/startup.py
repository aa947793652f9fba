"""How long light commands take to start, beside `python -c "import click, rich"`.

    python benchmarks/startup.py [--runs 15]

Modules are compiled before, as an installation does it. Commands take turns, so that a busy
machine slows all of them alike; the table gives medians of whole processes, on the wall and of
the processor, and the ratio of the latter to the bare imports. Exit code 1 when it is above 3.
"""

import argparse
import compileall
import importlib.util
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

LIMIT = 3.0
BARE = "import click, rich"
ADVISOR = [sys.executable, "-m", "advisor"]
ESTIMATE = "estimate llama-3.1-8b --method qlora --gpu rtx-4090 --seq-len 2048 --micro-batch 1"
COMMANDS = {
    BARE: [sys.executable, "-c", BARE],
    "advisor --help": [*ADVISOR, "--help"],
    "advisor estimate": [*ADVISOR, *ESTIMATE.split()],
    "advisor estimate --json": [*ADVISOR, *ESTIMATE.split(), "--json"],
}


class Took(NamedTuple):
    """One process [s]."""

    wall: float
    processor: float


def took(command: list[str]) -> Took:
    """What one process took."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, used)


def main() -> int:
    """Time them all, print the table."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--runs", type=int, default=15)
    runs = words.parse_args().runs
    for name in ("advisor", "backends", "knowledge"):
        package = importlib.util.find_spec(name)
        assert package is not None and package.origin is not None
        compileall.compile_dir(Path(package.origin).parent, quiet=2)
    times: dict[str, list[Took]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        took(command)  # once unmeasured, to fill caches
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(took(command))
    bare = median(one.processor for one in times[BARE])
    print(f"{'command':<26}{'wall ms':>9}{'processor ms':>14}{'ratio':>7}")
    worst = 0.0
    for name, measured in times.items():
        wall, used = (median(column) for column in zip(*measured, strict=True))
        worst = max(worst, used / bare)
        print(f"{name:<26}{wall * 1000:>9.0f}{used * 1000:>14.0f}{used / bare:>7.2f}")
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
