"""What a job runs on: its models, by role, and how they get their storages."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from backends.dryrun import Request
from backends.dryrun.live import Recorder

Pack = Callable[[Recorder, nn.Module], bool]
"""Gives a module its storages if it is of a special kind, and says whether it was."""


class Bundle(NamedTuple):
    """A job's models on the meta device, and what goes with them."""

    request: Request
    models: dict[str, nn.Module]
    """By role: "" is the model that trains or answers; reference, reward, value beside it."""
    layers: tuple[int, ...]
    pack: Pack | None = None
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        """The model that trains or answers."""
        return self.models[""]

    @property
    def base(self) -> Any:
        """The transformers model inside it."""
        return bare(self.model)

    @property
    def answer(self) -> int:
        """Tokens of a sequence that were written by the model (PPO, GRPO)."""
        whole = self.request.seq_len
        return min(self.request.new_tokens or whole - 1, whole - 1)


def bare(model: Any) -> Any:
    """The transformers model inside an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
