"""Models of the meta device given storages on the device, each counted once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder

ON_HOST = frozenset({"boft_P"})
"""Buffers that PEFT leaves in host memory and copies over when it needs them."""


def filled(recorder: Recorder, bundle: Bundle) -> None:
    """Give models on meta their storages and count them; what was shared stays shared.

    Parameters and buffers, and tensors that adapters keep in plain dictionaries.
    """
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for role, model in bundle.models.items():
        for owner, module in model.named_modules():
            name = f"{role}.{owner}" if role else owner
            recorder.enter(name)
            if bundle.pack is not None:
                bundle.pack(recorder, module)
            for kind, place in _places(module):
                for key, tensor in list(place.items()):
                    if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                        if id(tensor) not in made:  # the old one is kept, so that its id is
                            made[id(tensor)] = (tensor, _there(tensor, recorder))
                        place[key] = made[id(tensor)][1]
                        if key in ON_HOST:
                            recorder.leave_out(place[key])
                        else:
                            recorder.add(place[key], kind, kind)
            recorder.leave(name)


def _places(module: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "parameters", module._parameters
    yield "buffers", module._buffers
    for value in list(vars(module).values()):
        own = value is module._parameters or value is module._buffers
        if type(value) is dict and value and not own:
            yield "buffers", value


def _there(tensor: torch.Tensor, recorder: Recorder) -> torch.Tensor:
    """The same tensor with a storage of its own on the device; random where contents are real."""
    fresh = torch.empty_like(tensor, device=recorder.device, requires_grad=False)
    if not recorder.fake:
        fresh = fresh.normal_(0, 0.02) if fresh.is_floating_point() else fresh.zero_()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fresh, requires_grad=tensor.requires_grad)
    return fresh
