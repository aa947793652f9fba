"""A sweep gives what the estimate of each configuration gives, many times faster."""

import time

import numpy as np
import pytest
from msgspec.structs import replace

from advisor.estimates import bill, sweep
from advisor.job import settled
from knowledge.errors import UserError

JOBS = [
    {"model": "llama-3.2-1b", "method": "lora", "checkpointing": "none"},
    {"model": "mistral-7b-v0.1", "method": "qlora"},
    {"model": "gemma-3-1b", "method": "full-ft", "checkpointing": "none"},
    {"model": "llama-3.2-1b", "method": "dpo"},
    {"model": "llama-3.2-1b", "method": "ppo"},
    {"model": "llama-3.2-1b", "method": "grpo", "new_tokens": 64},
    {"model": "gemma-2-2b", "method": "inference", "engine": "vllm", "new_tokens": 64},
    {"model": "bert-base-uncased", "method": "head-ft", "train": "last-k", "last_k": 2},
    {"model": "t5-base", "method": "full-ft"},
    {"model": "llama-3.1-70b", "method": "full-ft", "sharding": "fsdp", "n_gpus": 16},
]


@pytest.mark.parametrize("keys", JOBS, ids=lambda keys: f"{keys['model']} {keys['method']}")
def test_a_sweep_equals_the_loop(keys: dict[str, object]) -> None:
    job, dice = settled(keys), np.random.default_rng(0)
    longest = 500 if str(keys["model"]).startswith(("bert", "t5")) else 8000
    batch, length = dice.integers(1, 65, 12), dice.integers(80, longest, 12)
    swept = sweep.memory(job, micro_batch=batch, seq_len=length)
    for i in range(12):
        one = bill(replace(job, micro_batch=int(batch[i]), seq_len=int(length[i])))
        for field, got in zip(swept._fields, swept, strict=True):
            figure = getattr(one, field)
            assert got[:, i] == pytest.approx([figure.low, figure.mid, figure.high], rel=1e-9)


def test_a_sweep_is_hundreds_of_times_faster_than_the_loop() -> None:
    job, dice = settled(JOBS[0]), np.random.default_rng(1)
    count = 200_000
    batch, length = dice.integers(1, 65, count), dice.integers(80, 8000, count)
    bill(job)
    begun = time.process_time()
    sweep.memory(job, micro_batch=batch, seq_len=length)
    swept = (time.process_time() - begun) / count
    begun = time.process_time()
    for i in range(200):
        bill(replace(job, micro_batch=int(batch[i]), seq_len=int(length[i])))
    # About five hundred times as measured (benchmarks/memory_sweep.py).
    assert (time.process_time() - begun) / 200 > 200 * swept


def test_nothing_to_sweep_is_said() -> None:
    job = settled(JOBS[0])
    for batch in ([], [0, 1]):
        with pytest.raises(UserError, match="at least one configuration"):
            sweep.memory(job, micro_batch=batch, seq_len=8)
