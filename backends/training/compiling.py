"""Whether a model is compiled for a training: where it pays, decided once for a run."""

import time
from collections.abc import Callable
from typing import Any

import torch

from backends.base import Context
from backends.training import precision

COMPILED = "compiled.txt"
LONG = 900.0  # seconds of a training on a processor that make good compiling the model
TRIES = 2


def settled(
    model: Any,
    learn: Callable[[Any], None],
    steps: int,
    wish: bool | None,
    context: Context,
) -> tuple[Any, str]:
    """The model as it is to run, and what is to be said of it.

    On a GPU it is compiled, on a processor for long trainings: there compiling takes most of a
    minute and makes bf16 a fifth faster afterwards. What was chosen is kept in the step's folder:
    a resumed run goes on in the same way.

    Args:
        learn: from a model to the gradients of one batch.
        wish: as the user set it; none: where it pays.
    """
    kept = context.folder / COMPILED
    if wish is None and context.resume and kept.is_file():
        wish = kept.read_text().strip() == "yes"
    if wish is None:
        wish = precision.device() == "cuda" or _seconds(model, learn) * steps > LONG
    runs, note = _tried(model, learn) if wish else (model, "")
    kept.write_text("no" if runs is model else "yes")
    return runs, note


def _seconds(model: Any, learn: Callable[[Any], None]) -> float:
    """Seconds of a batch, uncompiled."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(TRIES):
            begun = time.perf_counter()
            learn(model)
            model.zero_grad(set_to_none=True)
            found.append(time.perf_counter() - begun)
    return min(found)


def _tried(model: Any, learn: Callable[[Any], None]) -> tuple[Any, str]:
    """The model compiled and tried; where there is no compiler, as it is."""
    runs = torch.compile(model)
    try:
        with torch.random.fork_rng(devices=[]):
            learn(runs)
    except Exception as error:  # whatever a toolchain may lack
        first = " ".join(str(error).split())[:100]
        return model, f"torch.compile does not work here ({first}); trained without"
    finally:
        model.zero_grad(set_to_none=True)
    return runs, ""
