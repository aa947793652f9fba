"""Optimizers as the transformers Trainer makes them, and their update."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from peft.tuners.adalora import AdaLoraModel
from transformers.optimization import Adafactor

from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder
from knowledge.errors import UserError


class Update:
    """An optimizer on the parameters that train."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, owners: dict[int, str], after: Callable[[], None]
    ) -> None:
        self.optimizer = optimizer
        self.after = after
        """What a method does after each update, with the gradients still there."""
        self.owners = owners

    def warm(self, recorder: Recorder) -> None:
        """Make the states, as the first step does, from gradients that come and go."""
        recorder.mark("first update")
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.after()
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, state in self.optimizer.state.items():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    recorder.call(value, "optimizer states", self.owners.get(id(parameter)))

    def step(self, recorder: Recorder) -> None:
        """The update, and gradients away after it."""
        recorder.mark("optimizer step")
        self.optimizer.step()
        self.after()
        self.optimizer.zero_grad(set_to_none=True)


def _of_bitsandbytes(name: str) -> Callable[[list[Any]], torch.optim.Optimizer]:
    def make(parameters: list[Any]) -> torch.optim.Optimizer:
        try:
            library = import_module("bitsandbytes.optim")
        except ImportError as error:
            raise UserError(f"the optimizer {name} needs bitsandbytes: {error}") from error
        made: torch.optim.Optimizer = getattr(library, name)(parameters, lr=1e-4)
        return made

    return make


MAKERS: dict[str, Callable[[list[Any]], torch.optim.Optimizer]] = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "adamw-8bit": _of_bitsandbytes("AdamW8bit"),
    "adafactor": lambda parameters: Adafactor(
        parameters, lr=1e-3, scale_parameter=False, relative_step=False
    ),
    "lion": _of_bitsandbytes("Lion"),
    "lion-8bit": _of_bitsandbytes("Lion8bit"),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
}
"""The optimizers of the Trainer with its settings; AdamW is the fused one."""


def optimizer(bundle: Bundle) -> Update:
    """The optimizer of a job, on all that trains.

    Raises:
        UserError: there is none to trace by that name, or nothing trains.
    """
    name = bundle.request.optimizer
    if name not in MAKERS:
        raise UserError(f"cannot trace the optimizer {name!r}; it can be {', '.join(MAKERS)}")
    named = [
        (f"{role}.{key}" if role else key, parameter)
        for role, model in bundle.models.items()
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    if not named:
        raise UserError(f"the method {bundle.request.method!r} leaves nothing to train here")
    owners = {id(p): key.rpartition(".")[0] for key, p in named}
    return Update(MAKERS[name]([p for _, p in named]), owners, _after(bundle))


def _after(bundle: Bundle) -> Callable[[], None]:
    """AdaLoRA keeps the importance of each parameter; its users call this after each step."""
    tuner = getattr(bundle.model, "base_model", None)
    if isinstance(tuner, AdaLoraModel):
        return lambda: tuner.rankallocator.update_ipt(tuner.model)
    return lambda: None
