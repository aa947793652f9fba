"""A finished model in eight or four bits, and what that did to its answers, size and speed.

bitsandbytes holds the matrices (https://arxiv.org/abs/2208.07339 for eight bits,
https://arxiv.org/abs/2305.14314 for NF4) and transformers writes and reads them as it does any
model, so the folder loads with `from_pretrained` and nothing else.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig

from backends import evaluate, weights
from backends.base import Metric
from backends.training import fourbit, silence
from knowledge.errors import UserError

BITS = {"int8": 8, "int4": 4}


def quantized(source: Path, to: Path, kind: Any, bits: str) -> None:
    """Write the model of a folder with its matrices in fewer bits.

    Args:
        kind: the auto class of transformers that loads it.
        bits: a key of `BITS`.
    Raises:
        UserError: bitsandbytes is not installed, or the model cannot be loaded so.
    """
    silence.quiet()
    with weights.loading(str(source)):
        model = kind.from_pretrained(
            source,
            dtype=torch.float32,
            quantization_config=_configuration(bits),
            use_safetensors=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    fourbit.mended(model)
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)


def compared(
    before: Path, after: Path, bits: str, answer: Callable[[Path], Sequence[bool]]
) -> dict[str, Metric]:
    """Right answers, size and speed of a model and of the same in fewer bits.

    Args:
        answer: from a model's folder to whether each test row was answered rightly.
    """
    figures = {}
    right = {}
    for name, folder in (("full", before), (bits, after)):
        begun = time.perf_counter()
        right[name] = answer(folder)
        seconds = time.perf_counter() - begun
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        figures[f"{name}_bytes"] = Metric(float(size))
        figures[f"{name}_texts_per_second"] = Metric(len(right[name]) / seconds)
    figures[f"{bits}_accuracy"] = evaluate.share(sum(right[bits]), len(right[bits]))
    figures[f"{bits}_minus_full"] = evaluate.mean(
        [float(a) - float(b) for a, b in zip(right[bits], right["full"], strict=True)]
    )
    return figures


def _configuration(bits: str) -> BitsAndBytesConfig:
    if bits not in BITS:
        raise UserError(f"deliver: {bits!r}; known: {', '.join(BITS)}")
    if bits == "int4":
        return fourbit.configuration("nf4", True)
    fourbit.configuration("nf4", True)  # refuses where bitsandbytes is missing
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(fourbit.KEPT))
