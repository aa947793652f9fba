"""Which window of a step it is, and which module is at work, told by light hooks."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from backends.dryrun.live import Recorder


def stacks(model: nn.Module, layers: tuple[int, ...]) -> list[nn.ModuleList]:
    """The lists of blocks, an encoder's before its decoder's.

    Where no list is as long as the model is deep (layers share weights), the largest list.
    """
    outer: list[nn.ModuleList] = []
    covered: set[int] = set()
    for _, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and id(module) not in covered:
            covered.update(id(inner) for inner in module.modules())
            outer.append(module)
    fit = [stack for stack in outer if len(stack) in layers and _size(stack)]
    fit = sorted(sorted(fit, key=_size)[-len(layers) :], key=outer.index)
    return fit or sorted(outer, key=_size)[-1:]


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@contextmanager
def named_modules(recorder: Recorder, models: dict[str, nn.Module]) -> Iterator[None]:
    """Within, the recorder knows which module's forward pass is running."""
    names = {
        id(module): f"{role}.{name}" if role else name
        for role, model in models.items()
        for name, module in model.named_modules()
    }

    def enter(module: nn.Module, _: Any) -> None:
        name = names.get(id(module))
        if name:
            recorder.enter(name)

    def leave(module: nn.Module, *_: Any) -> None:
        name = names.get(id(module))
        if name:
            recorder.leave(name)

    hooks = (
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def windows(
    recorder: Recorder, model: nn.Module, layers: tuple[int, ...], role: str = ""
) -> Iterator[None]:
    """Within, each block of each stack has its own window, forward and backward.

    A block's backward window begins when the gradient of its output is there, so what it
    recomputes falls into it too; the rest of a forward pass is the window "loss".
    """
    with ExitStack() as stack:
        for number, blocks in enumerate(stacks(model, layers)):
            if len(blocks):
                stack.enter_context(_blocks(recorder, blocks, f"{role}{number}"))
        yield


@contextmanager
def _blocks(recorder: Recorder, blocks: nn.ModuleList, stack: str) -> Iterator[None]:
    count = 0

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal count
        if recorder.backward:
            return
        if recorder.window[:2] != (recorder.phase + "forward", stack):
            count = 0
        recorder.mark("forward", stack, count)
        hidden = first_tensor((*args, *kwargs.values()))
        if count == 0 and hidden is not None and hidden.requires_grad:
            hidden.register_hook(lambda _: recorder.mark("backward inputs", stack))

    def after(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal count
        if recorder.backward:
            return
        index, hidden = count, first_tensor(output)
        if hidden is not None and hidden.requires_grad:
            hidden.register_hook(lambda _: recorder.mark("backward", stack, index))
        count += 1

    def end(*_: Any) -> None:
        if not recorder.backward and recorder.window[0].endswith("forward"):
            recorder.mark("loss", stack)

    hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    hooks += [block.register_forward_hook(after) for block in blocks]
    hooks.append(blocks[-1].register_forward_hook(end))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def first_tensor(values: Any) -> torch.Tensor | None:
    """The first floating-point tensor among values, nested ones too."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else None
    if isinstance(values, dict):
        values = values.values()
    if isinstance(values, tuple | list | type({}.values())):
        for value in values:
            found = first_tensor(value)
            if found is not None:
                return found
    return None
