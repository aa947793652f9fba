"""A job run on fake tensors: its exact bytes, window by window, without the GPU.

`trace` runs the real model code with the real method for two steps, on tensors that have shapes
but no contents, at two small depths, and follows the rest from the layers. `measure` runs the same
steps for real on this machine's device. Neither knows a formula.

Importing this package is light; torch comes with the first call.
"""

import logging
import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

import msgspec

from knowledge.errors import UserError

Dtype = Literal["fp32", "bf16", "fp16"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to run. A field means what the key of that name means in a job; None: the library's
    own default. `config` holds the keys of a config.json, `model_type` among them."""

    config: dict[str, Any]
    method: str = "full-ft"

    lora_rank: int | None = None
    lora_targets: str | None = None
    lora_dropout: float = 0.0
    virtual_tokens: int | None = None
    adapter_width: int | None = None
    adapter_dtype: Dtype | None = None
    train: Literal["head", "last-k", "all"] = "all"
    last_k: int = 1
    classes: int = 2
    completions: int = 8
    reference: Literal["model", "precomputed"] = "model"

    loss_impl: Literal["full"] | None = None

    quant: str = "none"
    weights_dtype: Dtype = "bf16"
    autocast: bool = False
    optimizer: str = "adamw"

    micro_batch: int = 1
    seq_len: int = 512
    new_tokens: int = 0
    checkpointing: Literal["none", "selective", "full", "full-offloaded"] = "none"
    attention: Literal["eager", "sdpa"] = "sdpa"

    sharding: Literal["none", "fsdp"] = "none"
    n_gpus: int = 1
    device: Literal["cuda", "cpu"] = "cuda"
    """Whose kernels a trace has: cpu is this processor's."""


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """Peak bytes of one GPU as the tensors add up to them: no allocator, no context."""

    allocated: int
    """The largest of `phases` [bytes]."""
    phases: Mapping[str, int]
    """Peak of each window of a step [bytes]."""
    peak_phase: str
    by_module: Mapping[str, int]
    """What is alive at the peak by the module that made it, layer numbers as `*` [bytes]."""
    by_kind: Mapping[str, int]
    """Likewise by kind: parameters, gradients, optimizer states, saved activations, ..."""
    depths: tuple[tuple[int, ...], ...]
    """Layers that were traced: (layers,), or (encoder, decoder) layers."""
    layers: tuple[int, ...]
    """Layers that the figures are for."""
    attention: str
    """Attention that the model's code ran, eager where it has no other."""
    notes: tuple[str, ...] = ()

    @property
    def holder(self) -> str:
        """The module that holds most of the peak."""
        return max(self.by_module, key=lambda name: self.by_module[name])


class Alive(msgspec.Struct, frozen=True):
    """One storage alive at a peak."""

    bytes: int
    kind: str
    module: str
    window: str
    """Window it was made in."""
    shape: tuple[int, ...]
    dtype: str
    op: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Two real steps on this machine."""

    device: str
    allocated: int
    """Peak of what tensors asked for [bytes]."""
    reserved: int
    """Peak of what the allocator held (CUDA), or of the process above its start (CPU) [bytes]."""
    seconds_per_step: float
    phases: Mapping[str, int]


def trace(request: Request, *, whole: bool = False) -> Traced:
    """The peak of each window of a step, traced on fake tensors.

    Args:
        whole: trace all layers instead of two small depths.
    Raises:
        UserError: the model or the method has no native code to trace, with the reason.
    """
    traced: Traced = _behind("tracing").trace(request, whole=whole)
    return traced


def live_at_peak(
    request: Request, *, window: str | None = None, layers: tuple[int, ...] | None = None
) -> list[Alive]:
    """Every storage alive at the peak (of one window) at one traced depth, largest first."""
    alive: list[Alive] = _behind("tracing").live_at_peak(request, window=window, layers=layers)
    return alive


def measure(request: Request) -> Measured:
    """Two real steps with random weights on this machine's device.

    Raises:
        UserError: as `trace`; or the model surely does not fit here.
    """
    measured: Measured = _behind("measurement").measure(request)
    return measured


def _behind(module: str) -> Any:
    """A module behind the face, its libraries' remarks on optional parts unsaid.

    Raises:
        UserError: what it needs is not installed.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    logging.disable(logging.ERROR)
    try:
        return import_module(f"backends.dryrun.{module}")
    except ImportError as error:
        raise UserError(
            f"a trace needs the libraries that run models ({error}); pip install 'llm-advisor[run]'"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
