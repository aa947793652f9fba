"""A frozen base in four bits, as QLoRA holds it (https://arxiv.org/abs/2305.14314)."""

from typing import Any

import torch
from transformers import BitsAndBytesConfig

from backends.training import precision
from knowledge.errors import UserError

KEPT = ("classifier", "score", "pooler", "pre_classifier", "lm_head")  # new, or all too few


def configuration(quant_type: str, double_quant: bool) -> BitsAndBytesConfig:
    """How bitsandbytes is to hold a base.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401 (asked for by this method alone, and slow to import)
    except ImportError:
        raise UserError(
            "qlora needs bitsandbytes; install it with: pip install 'llm-advisor[quant]'"
        ) from None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=list(KEPT),
        bnb_4bit_quant_type=quant_type,
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision.bf16("auto") else torch.float32,
    )


def mended(model: Any) -> int:
    """Keep bitsandbytes' four-bit matrices from a fault; returns how many there are.

    On processors with AVX512-BF16 bitsandbytes 0.50 repacks the weights at the first pass without
    gradients and then computes wrong gradients from them, silently. Held off, they are exact.
    """
    if not any(getattr(part, "is_loaded_in_4bit", False) for part in model.modules()):
        return 0
    from bitsandbytes.nn import Linear4bit

    found = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for module in found:
        module.support_avx512bf16_for_cpu = False
    return len(found)
