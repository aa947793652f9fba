"""Models of the meta device given storages on the device, each counted once."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from backends.dryrun.live import Recorder


def filled(recorder: Recorder, models: dict[str, nn.Module]) -> None:
    """Give models on meta their storages and count them; what was shared stays shared.

    Parameters and buffers, and tensors that adapters keep in plain dictionaries.
    """
    made: dict[int, torch.Tensor] = {}
    for role, model in models.items():
        for owner, module in model.named_modules():
            name = f"{role}.{owner}" if role else owner
            for kind, place in _places(module):
                for key, tensor in list(place.items()):
                    if not isinstance(tensor, torch.Tensor):
                        continue
                    if id(tensor) not in made:
                        made[id(tensor)] = _there(tensor)
                    place[key] = made[id(tensor)]
                    recorder.modules.append(name)
                    recorder.add(made[id(tensor)], kind, kind)
                    recorder.modules.pop()


def _places(module: nn.Module) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "parameters", module._parameters
    yield "buffers", module._buffers
    for value in vars(module).values():
        if type(value) is dict and value and value is not module._parameters:
            if value is not module._buffers:
                yield "buffers", value


def _there(tensor: torch.Tensor) -> torch.Tensor:
    """The same tensor with a storage of its own on the device."""
    fresh = torch.empty_like(tensor, device="cpu", requires_grad=False)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fresh, requires_grad=tensor.requires_grad)
    return fresh
