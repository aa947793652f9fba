"""A sweep of a million configurations beside the loop over them, and the whole catalogue.

    python benchmarks/memory_sweep.py [--configurations 1000000] [--looped 2000] [--rounds 3]

Loop and sweep take turns; times are those of the processor, the least of the rounds, for a busy
machine only adds. Every looped configuration must come out the same. Exit code 1 when a figure
differs, when the sweep is less than 200 times as fast, or when the catalogue takes over 10 s.
"""

import argparse
import sys
import time

import numpy as np
from msgspec.structs import replace

from advisor.estimates import bill, catalogue, sweep
from advisor.job import Job, settled

TIMES, SECONDS = 200.0, 10.0
JOBS = (
    {"model": "llama-3.2-1b", "method": "lora", "checkpointing": "none"},
    {"model": "llama-3.1-8b", "method": "qlora"},
    {"model": "qwen3-32b", "method": "full-ft", "n_gpus": 8},
    {"model": "llama-3.1-8b", "method": "inference", "new_tokens": 64},
)


def compared(job: Job, count: int, looped: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of a configuration in the sweep and in the loop, and the largest difference."""
    dice = np.random.default_rng(0)
    batch, length = dice.integers(1, 65, count), dice.integers(80, 8000, count)
    swept_s, loop_s, worst = [], [], 0.0
    sweep.memory(job, micro_batch=batch[:100], seq_len=length[:100])
    for _ in range(rounds):
        begun = time.process_time()
        swept = sweep.memory(job, micro_batch=batch, seq_len=length)
        swept_s.append((time.process_time() - begun) / count)
        begun = time.process_time()
        one = [
            bill(replace(job, micro_batch=int(batch[i]), seq_len=int(length[i])))
            for i in range(looped)
        ]
        loop_s.append((time.process_time() - begun) / looped)
        for i, memory in enumerate(one):
            for field, got in zip(swept._fields, swept, strict=True):
                figure = getattr(memory, field)
                own = np.array([figure.low, figure.mid, figure.high])
                worst = max(worst, float(np.max(np.abs(got[:, i] / own - 1))))
    return min(swept_s), min(loop_s), worst


def main() -> int:
    """Time all, print the tables."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--configurations", type=int, default=1_000_000)
    words.add_argument("--looped", type=int, default=2000)
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    right = True
    print(f"| job | {asked.configurations:,} swept | the loop (of {asked.looped:,}) | times "
          "| largest difference |\n|---|---|---|---|---|")  # fmt: skip
    for keys in JOBS:
        job = settled(keys)
        fast, slow, worst = compared(job, asked.configurations, asked.looped, asked.rounds)
        right &= slow / fast >= TIMES and worst < 1e-9
        print(f"| {job.method} of {job.model} | {fast * asked.configurations:.2f} s "
              f"| {slow * asked.configurations:.0f} s | {slow / fast:.0f} | {worst:.0e} |"
              )  # fmt: skip
    names, sizes = catalogue.memories()
    for turn in ("first", "again"):
        begun, wall = time.process_time(), time.perf_counter()
        needs = list(catalogue.needs(Job(model=None)))
        fits = np.array([need.fits(sizes) for need in needs])
        took, wall = time.process_time() - begun, time.perf_counter() - wall
        right &= took <= SECONDS
        print(f"\n{turn}: {len(needs):,} models with methods x {len(catalogue.COUNTS)} counts x "
              f"{len(names)} GPUs = {fits.size:,} configurations, {fits.mean():.0%} fit: "
              f"{took:.1f} s of the processor ({wall:.1f} s on the wall)")  # fmt: skip
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
