"""Whether a model is compiled for a training: where it pays, decided once for a run."""

import time
from collections.abc import Callable
from typing import Any

import torch

from backends.base import Context
from backends.training import attention, precision

COMPILED = "compiled.txt"
LONG = 900.0  # seconds of a training on a processor that make good compiling the model
LONG_LAYER = 15.0  # of each layer, where it has bf16: compiled that is over twice as fast
LAYERS = 12  # of a model whose configuration does not say
TRIES = 2

Runs = Callable[..., torch.Tensor]


def pays(
    model: Any, learn: Callable[[], torch.Tensor], steps: int, wish: bool | None, context: Context
) -> bool:
    """Whether the model is to be compiled.

    On a GPU it is, on a processor for long trainings: there compiling takes half a minute. What
    was chosen is kept in the step's folder: a resumed run goes on in the same way.

    Args:
        learn: from nothing to the loss of one batch.
        wish: as the user set it; none: where it pays.
    """
    kept = context.folder / COMPILED
    if wish is None and context.resume and kept.is_file():
        wish = kept.read_text().strip() == "yes"
    if wish is None:
        wish = precision.device() == "cuda" or _seconds(model, learn) * steps > _long(model)
    return wish


def keep(context: Context, *, compiled: bool) -> None:
    """Note how the run goes, for when it is resumed."""
    (context.folder / COMPILED).write_text("yes" if compiled else "no")


def tried(
    model: Any, plain: Runs, learn: Callable[[Any], torch.Tensor], bf16: bool
) -> tuple[Runs, str]:
    """The way to a loss, compiled and tried; where there is no compiler, as it is.

    The loss is compiled with the model: on a processor what it does by itself with the logits
    takes as long as a third of all matrix products.
    """
    attention.settle(model)
    runs = torch.compile(plain)
    try:
        with torch.random.fork_rng(devices=[]):
            with precision.autocast(bf16):
                loss = learn(runs)
            loss.backward()
    except Exception as error:  # whatever a toolchain may lack
        first = " ".join(str(error).split())[:100]
        return plain, f"torch.compile does not work here ({first}); trained without"
    finally:
        model.zero_grad(set_to_none=True)
    return runs, ""


def _long(model: Any) -> float:
    """Seconds of a training on a processor, uncompiled, that make good compiling."""
    if not precision.bf16("auto"):
        return LONG
    layers = getattr(getattr(model, "config", None), "num_hidden_layers", LAYERS)
    return LONG_LAYER * float(layers)


def _seconds(model: Any, learn: Callable[[], torch.Tensor]) -> float:
    """Seconds of a batch in fp32, uncompiled."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(TRIES):
            begun = time.perf_counter()
            learn().backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)
            found.append(time.perf_counter() - begun)
    return min(found)
