"""What a method makes of a model, and its step: built on meta, run on whatever tensors there are."""

from collections.abc import Callable
from typing import Any, NamedTuple

from backends.dryrun import Request
from backends.dryrun.adapters import adapted
from backends.dryrun.live import Recorder
from backends.dryrun.loops import generation, training
from backends.dryrun.models import attention_note, on_meta
from backends.dryrun.preparation import checkpointed, headed
from knowledge import methods
from knowledge.errors import UserError


class Ready(NamedTuple):
    """A job that can be run."""

    go: Callable[[Recorder], None]
    notes: tuple[str, ...]


def prepared(request: Request, found: Any, layers: tuple[int, ...]) -> Ready:
    """The job of a request on a configuration.

    Raises:
        UserError: the method cannot be traced, with the reason.
    """
    method = methods.find(request.method)
    if method.id == "inference":
        model = on_meta(request, found)
        return Ready(
            lambda recorder: generation(request, model, layers, recorder),
            attention_note(request, model),
        )
    if method.id == "head-ft":
        model = headed(request, found)
    elif method.id in ("full-ft", "cpt", "scratch"):
        model = on_meta(request, found)
    elif method.trains in ("added", "norms"):
        model = adapted(request, on_meta(request, found), method)
    else:
        raise UserError(f"the method {method.id!r} cannot be traced yet; leave out --trace")
    checkpointed(request, model)
    return Ready(
        lambda recorder: training(request, model, layers, recorder), attention_note(request, model)
    )
