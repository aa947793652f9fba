"""FSDP on fake tensors: torch's own `fully_shard` among ranks of which one is run."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import distributed, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard import _fsdp_param, _fsdp_param_group
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder
from backends.dryrun.watch import stacks


@contextmanager
def sharded(bundle: Bundle, recorder: Recorder) -> Iterator[None]:
    """Within, every model is one rank's share: each block a unit, the rest another.

    Mixed precision gathers weights in bf16, as accelerate sets it. Collectives of the
    "fake" backend move nothing, but make the tensors that real ones make.
    """
    distributed.init_process_group(
        "fake", rank=0, world_size=bundle.request.n_gpus, store=FakeStore()
    )
    try:
        with ExitStack() as stack:
            for module in (_fsdp_param, _fsdp_param_group):
                for name in ("alloc_storage", "free_storage"):
                    if hasattr(module, name):
                        told = _told(getattr(module, name), recorder)
                        stack.enter_context(patch.object(module, name, told))
            with unset_fake_temporarily():  # a mesh is made of real ranks
                mesh = init_device_mesh("cpu", (bundle.request.n_gpus,))
            half = torch.bfloat16 if bundle.request.autocast else None
            policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=half)
            for role, model in bundle.models.items():
                for blocks in stacks(model, bundle.layers):
                    for block in blocks:
                        fully_shard(block, mesh=mesh, mp_policy=policy)
                fully_shard(model, mesh=mesh, mp_policy=policy)
                _named(recorder, role, model)
            yield
    finally:
        distributed.destroy_process_group()


def _told(function: Any, recorder: Recorder) -> Any:
    """FSDP resizes storages without an operator; the recorder is told."""

    def resized(tensor: torch.Tensor) -> None:
        function(tensor)
        recorder.add(tensor, function.__name__)

    return resized


def _named(recorder: Recorder, role: str, model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if isinstance(parameter, DTensor):
            owner = f"{role}.{name}" if role else name
            recorder.call(parameter, "parameters", owner.rpartition(".")[0])
