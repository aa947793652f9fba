"""Which arithmetic a device computes fastest, and contexts that use it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

TRIES = 2  # timed passes in each arithmetic; the quicker one counts


def device() -> str:
    """Where models run here: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def bf16(wish: str | bool) -> bool:
    """Whether matrix products run in bf16: as wished, or where the processor computes it.

    Emulated bf16 is slower than fp32, so "auto" takes it only where there are instructions for
    it: AVX512-BF16 on a CPU, compute capability 8 or more on an NVIDIA GPU.
    """
    if wish != "auto":
        return wish in ("bf16", True)
    if device() == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def measured(model: torch.nn.Module, learn: Callable[[], torch.Tensor]) -> bool:
    """Whether the model learns faster with matrix products in bf16 than in fp32, tried on it.

    Small matrices spend more on changing formats than they win. The model, its gradients and the
    random numbers are left as they were.

    Args:
        learn: from nothing to the loss of one batch.
    """
    if not bf16("auto"):
        return False
    if device() == "cuda":  # tensor cores have no such trouble
        return True

    def seconds(use_bf16: bool) -> float:
        found = []
        for _ in range(TRIES + 1):
            begun = time.perf_counter()
            with autocast(use_bf16):
                loss = learn()
            loss.backward()
            found.append(time.perf_counter() - begun)
            model.zero_grad(set_to_none=True)
        return min(found[1:])

    with torch.random.fork_rng(devices=[]):
        return seconds(True) < seconds(False)


def autocast(use_bf16: bool) -> AbstractContextManager[Any]:
    """Matrix products in bf16 inside, or nothing."""
    if not use_bf16:
        return nullcontext()
    return torch.autocast(device(), dtype=torch.bfloat16)


def exactly() -> AbstractContextManager[Any]:
    """Matrix products inside are in the format of what they multiply, whatever is outside."""
    return torch.autocast(device(), enabled=False)
