"""Whether a model is compiled for a training: where it pays, decided once for a run."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from backends.base import Context
from backends.training import Training, attention, precision, trainer

COMPILED = "compiled.txt"
LONG = 900.0  # seconds of a training on a processor that make good compiling the model
LONG_LAYER = 15.0  # of each layer, where it has bf16: compiled that is over twice as fast
LAYERS = 12  # of a model whose configuration does not say
TRIES = 2

Runs = Callable[..., torch.Tensor]


class Way(NamedTuple):
    """How a run computes its losses: by what, in which arithmetic, and what is to be said of it."""

    runs: Runs
    bf16: bool
    compiled: bool
    notes: tuple[str, ...] = ()


def settled(
    model: Any,
    loss: Runs,
    draw: Callable[[], tuple[Any, ...]],
    steps: int,
    wish: bool | None,
    settings: Training,
    context: Context,
) -> Way:
    """How a training of so many steps runs fastest, tried on the model once for a run.

    Args:
        loss: from the model and what `draw` gives of a batch to a scalar.
        wish: whether to compile, as the user set it; none: where it pays.
    """

    def plain(*batch: Any) -> torch.Tensor:
        return loss(model, *batch)

    def learn(runs: Runs = plain) -> torch.Tensor:
        return runs(*draw())

    def bf16(*, compiled: bool) -> bool:
        chosen = trainer.arithmetic(model, learn, steps, settings, context, compiled=compiled)
        return chosen == "bf16"

    notes: tuple[str, ...] = ()
    if pays(model, learn, steps * settings.accumulation, wish, context):
        way = Way(plain, bf16(compiled=True), compiled=True)
        runs, note = tried(model, plain, learn, way.bf16)
        if runs is not plain:
            keep(context, compiled=True)
            return way._replace(runs=runs)
        notes = (note,)
    keep(context, compiled=False)
    return Way(plain, bf16(compiled=False), compiled=False, notes=notes)


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
            learn().backward()
            model.zero_grad(set_to_none=True)
            found.append(time.perf_counter() - begun)
    return min(found)
