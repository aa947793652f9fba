"""Number formats: bytes of a number, bits of a quantised weight, bytes of optimizer states."""

from typing import Final, NamedTuple

BYTES: Final = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5}

BLOCK_8BIT, BLOCK_4BIT, BLOCK_NF4, BLOCK_DOUBLE, GROUP_GPTQ = 256, 128, 64, 256, 128
UNQUANTISED_BELOW = 4096
"""bitsandbytes keeps the states of tensors with fewer elements in fp32."""


class Quantisation(NamedTuple):
    """How a weight is held: bits with its scales, and whether every matrix is (GGUF: all)."""

    bits: float
    everything: bool = False
    integer: bool = False


def _blocked(bits: float, block: int, scale_bits: float) -> float:
    return bits + scale_bits / block


QUANTISATIONS: Final = {
    "nf4": Quantisation(_blocked(4, BLOCK_NF4, 32)),
    "fp4": Quantisation(_blocked(4, BLOCK_NF4, 32)),
    "nf4-dq": Quantisation(_blocked(4, BLOCK_NF4, 8 + 32 / BLOCK_DOUBLE)),
    "fp4-dq": Quantisation(_blocked(4, BLOCK_NF4, 8 + 32 / BLOCK_DOUBLE)),
    "int8": Quantisation(8, integer=True),
    "gptq-int4": Quantisation(_blocked(4, GROUP_GPTQ, 16 + 4)),
    "gptq-int8": Quantisation(_blocked(8, GROUP_GPTQ, 16 + 8)),
    "awq": Quantisation(_blocked(4, GROUP_GPTQ, 16 + 4)),
    "fp8": Quantisation(8),
    "gguf-q2_k": Quantisation(2.96, everything=True),
    "gguf-q3_k_m": Quantisation(3.91, everything=True),
    "gguf-q4_0": Quantisation(4.55, everything=True),
    "gguf-q4_k_m": Quantisation(4.85, everything=True),
    "gguf-q5_k_m": Quantisation(5.69, everything=True),
    "gguf-q6_k": Quantisation(6.56, everything=True),
    "gguf-q8_0": Quantisation(8.5, everything=True),
}
"""Bits of one weight, scales and zero points included.

Source: https://arxiv.org/abs/2305.14314, section 3 (NF4, double quantisation);
    https://arxiv.org/abs/2210.17323 (groups of 128); GGUF: bits per weight of a whole model in
    https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md
"""


class OptimizerStates(NamedTuple):
    """What an optimizer keeps: full-size states, their format if it fixes one, and where.

    `foreach`: torch's own, which by default updates all tensors at once with copies.
    """

    states: float
    dtype: str | None = None
    paged: bool = False
    in_backward: bool = False
    low_rank: int | None = None
    foreach: bool = False


OPTIMIZERS: Final = {
    "adamw": OptimizerStates(2, foreach=True),
    "adamw-8bit": OptimizerStates(2, "int8"),
    "adamw-4bit": OptimizerStates(2, "int4"),
    "paged-adamw": OptimizerStates(2, "fp32", paged=True),
    "paged-adamw-8bit": OptimizerStates(2, "int8", paged=True),
    "adafactor": OptimizerStates(0.005, "fp32"),
    "sgd": OptimizerStates(0, foreach=True),
    "sgd-momentum": OptimizerStates(1, foreach=True),
    "lion": OptimizerStates(1),
    "lion-8bit": OptimizerStates(1, "int8"),
    "paged-lion": OptimizerStates(1, "fp32", paged=True),
    "paged-lion-8bit": OptimizerStates(1, "int8", paged=True),
    "muon": OptimizerStates(1),
    "lomo": OptimizerStates(0, in_backward=True),
    "galore-adamw": OptimizerStates(2, low_rank=128),
    "galore-adamw-8bit": OptimizerStates(2, "int8", low_rank=128),
}
"""States of the optimizers, as multiples of what is trained.

Source: https://arxiv.org/abs/2110.02861 (8-bit), https://arxiv.org/abs/2309.01507 (4-bit),
    https://arxiv.org/abs/1804.04235 (Adafactor: one row and one column for each matrix),
    https://arxiv.org/abs/2302.06675 (Lion), https://arxiv.org/abs/2306.09782 (LOMO),
    https://arxiv.org/abs/2403.03507 (GaLore).
"""


def state_bytes(dtype: str) -> float:
    """Bytes of one optimizer state for one trained number, scales included."""
    scales = {"int8": 4 / BLOCK_8BIT, "int4": 4 / BLOCK_4BIT}
    return BYTES[dtype] + scales.get(dtype, 0.0)
