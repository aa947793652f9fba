"""Which arithmetic a device really has."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


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


def autocast(use_bf16: bool) -> AbstractContextManager[Any]:
    """Matrix products in bf16 inside, or nothing."""
    if not use_bf16:
        return nullcontext()
    return torch.autocast(device(), dtype=torch.bfloat16)
