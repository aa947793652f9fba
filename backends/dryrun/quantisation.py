"""Bases held in few bits by bitsandbytes' own modules, as transformers loads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import bitsandbytes as bnb
import torch
from bitsandbytes.backends import utils as codes
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear
from transformers.quantizers.base import get_keys_to_not_convert

from backends.dryrun import Request
from backends.dryrun.likeness import WORKSPACES
from backends.dryrun.live import Recorder
from backends.dryrun.models import DTYPES
from knowledge.errors import UserError


@contextmanager
def own_tables() -> Iterator[None]:
    """Within, bitsandbytes keeps its tables of codes apart: made there, they have no contents."""
    with patch.dict(bnb.functional.name2qmap), patch.dict(codes._code_4bit_cache):
        yield


FOUR_BITS = {"nf4": ("nf4", False), "nf4-dq": ("nf4", True), "fp4": ("fp4", False),
             "fp4-dq": ("fp4", True)}  # fmt: skip
FUSED_ROWS = 8
"""Up to so many rows the 4-bit product is one fused kernel on A100 and H100; above, the matrix is
unpacked first. Source: _gemm_4bit_use_custom_cuda in bitsandbytes 0.50, backends/cuda/ops.py"""


def quantised(request: Request, model: Any) -> tuple[str, ...]:
    """Replace the linears of a model on meta; what stays as it was, in words.

    Raises:
        UserError: a way of quantising that cannot be traced.
    """
    if request.quant == "none":
        return ()
    if request.quant not in FOUR_BITS:
        known = ", ".join(("none", *FOUR_BITS))
        raise UserError(f"cannot trace quant {request.quant!r}; it can be {known}")
    kind, twice = FOUR_BITS[request.quant]
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=twice,
        bnb_4bit_compute_dtype=DTYPES[request.weights_dtype],
    )
    whole = get_keys_to_not_convert(model)
    replace_with_bnb_linear(model, modules_to_not_convert=whole, quantization_config=settings)
    model.is_loaded_in_4bit = True
    model.requires_grad_(False)
    left = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 3)
    if left:
        return (f"{left / 1e9:.1f}B traced parameters of experts stay unquantised (no nn.Linear)",)
    return ()


def filled(recorder: Recorder, module: nn.Module, dtype: torch.dtype) -> bool:
    """Give a 4-bit linear its packed weights and scales, if the module is one."""
    if not isinstance(module, bnb.nn.Linear4bit) or module.weight.device.type != "meta":
        return False
    old = module.weight
    packed, state = bnb.functional.quantize_4bit(
        torch.empty(old.shape, dtype=dtype, device=recorder.device),
        blocksize=old.blocksize,
        compress_statistics=old.compress_statistics,
        quant_type=old.quant_type,
        quant_storage=old.quant_storage,
    )
    if recorder.fake:  # a fake tensor cannot be of bitsandbytes' own class
        module.weight = nn.Parameter(packed, requires_grad=False)
        module.weight.quant_state = state
    else:
        module.weight = bnb.nn.Params4bit(
            packed, requires_grad=False, quant_state=state, bnb_quantized=True, module=module,
            compress_statistics=old.compress_statistics, quant_type=old.quant_type,
        )  # fmt: skip
    module.quant_state = state
    module.compute_type_is_set = True
    module.support_avx512bf16_for_cpu = False
    for part in (module.weight, *_tensors(state), *_tensors(state.state2)):
        recorder.add(part, "parameters", "parameters")
    return True


def _tensors(state: Any) -> list[torch.Tensor]:
    return [
        value
        for value in (vars(state) if state else {}).values()
        if isinstance(value, torch.Tensor)
    ]


def unpacked(a: torch.Tensor, b: torch.Tensor, shape: list[int], *_: Any, **more: Any) -> int:
    """What a product with a 4-bit matrix takes on CUDA beside its result [bytes].

    The matrix in the input's format, and its scales if they are themselves quantised.
    """
    if a.numel() // a.shape[-1] <= FUSED_ROWS:
        return 0
    elements: int = shape[0] * shape[1]
    scales = 4 * elements // 64 if more.get("absmax_8bit") is not None else 0
    return int(elements * a.element_size() + scales)


WORKSPACES[torch.ops.bitsandbytes.gemm_4bit.default] = unpacked
