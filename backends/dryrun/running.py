"""What a method makes of a model, and what it then runs; built on the meta device."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from backends.dryrun import Request, losses, phases
from backends.dryrun.adapters import adapted
from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder
from backends.dryrun.loops import inference, training
from backends.dryrun.models import DTYPES, Head, attention_note, is_encoder, on_meta
from backends.dryrun.preparation import checkpointed, headed
from knowledge import methods
from knowledge.errors import UserError
from knowledge.methods import Method

Run = Callable[[Bundle, Recorder], None]


class Ready(NamedTuple):
    """A job that can be run."""

    bundle: Bundle
    run: Run

    def go(self, recorder: Recorder) -> None:
        """Run it."""
        self.run(self.bundle, recorder)


def _trained(loss: Callable[[Bundle, Recorder], losses.Loss]) -> Run:
    return lambda bundle, recorder: training(bundle, recorder, partial(loss, bundle))


RUNS: dict[str, Run] = {
    "inference": inference,
    "reward-model": _trained(losses.reward),
    "dpo": _trained(losses.dpo),
    "kto": _trained(losses.kto),
    "orpo": _trained(losses.orpo),
    "ppo": phases.ppo,
    "grpo": phases.grpo,
}
"""What a method runs; the others train on the model's own loss."""


def prepared(request: Request, found: Any, layers: tuple[int, ...]) -> Ready:
    """The job of a request on a configuration.

    Raises:
        UserError: the method cannot be traced, with the reason.
    """
    method = methods.find(request.method)
    if not {"training", "generation"} & set(method.phases):
        raise UserError(f"the method {method.id!r} runs no model here; there is nothing to trace")
    _checked(request, found, method)
    model, notes, pack = _model(request, found, method, layers)
    models = {"": model, **_others(request, found, method)}
    checkpointed(request, model)
    if "value" in models:
        checkpointed(request, models["value"])
    bundle = Bundle(request, models, layers, pack, (*attention_note(request, model), *notes))
    return Ready(bundle, RUNS.get(method.id, _trained(losses.own)))


def _checked(request: Request, found: Any, method: Method) -> None:
    decoder = not getattr(found, "is_encoder_decoder", False)
    if method.approach in ("dpo", "ppo") and not decoder:
        raise UserError(
            f"the method {method.id!r} cannot be traced on model_type {found.model_type!r}: "
            "it needs a decoder"
        )
    if method.quant == "must" and request.quant == "none":
        raise UserError(f"the method {method.id!r} needs quant, such as nf4")
    if request.sharding != "none" and request.quant != "none":
        raise UserError("4-bit weights of bitsandbytes cannot be traced under FSDP")
    if method.id == "dora" and request.quant != "none":
        raise UserError("DoRA over a quantised base reads its weights; a trace has none")
    if method.quant == "never" and request.quant != "none":
        raise UserError(f"the method {method.id!r} trains all weights; quant must be none")


def _model(
    request: Request, found: Any, method: Method, layers: tuple[int, ...]
) -> tuple[nn.Module, tuple[str, ...], Any]:
    """The model that trains or answers, notes, and how its special modules are filled."""
    if method.logits == "classes" and method.trains == "head":
        return headed(request, found, layers), (), None
    model = on_meta(request, found, head=_head(request, found, method))
    notes: tuple[str, ...] = ()
    pack = None
    if request.quant != "none":
        try:
            bits = import_module("backends.dryrun.quantisation")
        except ImportError as error:
            raise UserError(
                f"quant {request.quant!r} is traced with bitsandbytes: {error}"
            ) from error
        notes = bits.quantised(request, model)
        pack = partial(bits.filled, dtype=DTYPES[request.weights_dtype])
    if method.trains in ("added", "norms"):
        model = adapted(request, model, method)
    elif method.adapter and _with_adapter(request):
        model = adapted(request, model, methods.find(method.adapter))
    return model, notes, pack


def _head(request: Request, found: Any, method: Method) -> Head:
    """An encoder with an adapter classifies; one that answers has no head at all."""
    if method.logits == "classes":
        return 1
    if is_encoder(found) and method.trains in ("added", "norms"):
        return request.classes
    return "none" if is_encoder(found) and method.trains == "nothing" else "vocabulary"


def _with_adapter(request: Request) -> bool:
    said = (request.lora_rank, request.lora_targets)
    return request.quant != "none" or any(value is not None for value in said)


def _others(request: Request, found: Any, method: Method) -> dict[str, nn.Module]:
    """The models beside it, frozen but for a value model."""
    models: dict[str, nn.Module] = {}
    shared = bool(method.adapter) and _with_adapter(request)
    for extra in method.extra_models:
        if extra.role == "reference" and (shared or request.reference == "precomputed"):
            continue
        if extra.role == "value" and shared:
            dtype = DTYPES[request.weights_dtype]
            models["head"] = nn.Linear(found.hidden_size, 1, device="meta", dtype=dtype)
            continue
        model = on_meta(request, found, head=1 if extra.scalar_head else "vocabulary")
        models[extra.role] = model.requires_grad_(extra.trained)
    return models
