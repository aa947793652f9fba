"""What a method makes of a model, and what it then runs; built on the meta device."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from torch import nn

from backends.dryrun import Request
from backends.dryrun.bundle import Bundle, Pack
from backends.dryrun.live import Recorder
from backends.dryrun.loops import inference, training
from backends.dryrun.models import DTYPES, Head, attention_note, is_encoder, new_blocks, on_meta
from backends.dryrun.preparation import checkpointed, expanded, headed
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


RUNS = {
    "reward-model": ("losses", "reward"),
    "dpo": ("preferences", "dpo"),
    "kto": ("preferences", "kto"),
    "orpo": ("preferences", "orpo"),
    "ppo": ("phases", "ppo"),
    "grpo": ("phases", "grpo"),
}
"""The module and function of a loss or of phases; other methods train on the model's own loss."""


def _run(method: Method) -> Run:
    if method.trains == "nothing":
        return inference
    module, name = RUNS.get(method.id, ("losses", "own"))
    found = getattr(_module(module), name)
    if module == "phases":
        phases: Run = found
        return phases
    return lambda bundle, recorder: training(bundle, recorder, partial(found, bundle))


def _module(name: str) -> Any:
    """A module whose libraries only some methods need."""
    return import_module(f"backends.dryrun.{name}")


def prepared(request: Request, found: Any, layers: tuple[int, ...]) -> Ready:
    """The job of a request on a configuration.

    Raises:
        UserError: the method cannot be traced, with the reason.
    """
    method = methods.find(request.method)
    if not {"training", "generation"} & set(method.phases):
        raise UserError(f"the method {method.id!r} runs no model here; there is nothing to trace")
    _checked(request, found, method)
    own = _model(request, found, method, layers)
    models = {"": own.model, **_others(request, found, method)}
    for role in ("", "value"):
        if role in models:
            checkpointed(request, models[role])
    notes = (*attention_note(request, own.model), *own.notes)
    bundle = Bundle(request, models, layers, own.pack, notes, own.after_update)
    return Ready(bundle, _run(method))


def _checked(request: Request, found: Any, method: Method) -> None:
    decoder = not getattr(found, "is_encoder_decoder", False)
    if method.approach in ("dpo", "ppo") and not decoder:
        raise UserError(
            f"the method {method.id!r} cannot be traced on model_type {found.model_type!r}: "
            "it needs a decoder"
        )
    if method.quant == "must" and request.quant == "none":
        raise UserError(f"the method {method.id!r} needs quant, such as nf4")
    if new_blocks(request) and (request.quant != "none" or not decoder):
        raise UserError(f"{method.name} is traced on decoders that are not quantised")
    if request.sharding != "none" and request.quant != "none":
        raise UserError("4-bit weights of bitsandbytes cannot be traced under FSDP")
    if method.id == "dora" and request.quant != "none":
        raise UserError("DoRA over a quantised base reads its weights; a trace has none")
    if method.quant == "never" and request.quant != "none":
        raise UserError(f"the method {method.id!r} trains all weights; quant must be none")


class _Model(NamedTuple):
    """The model that trains or answers, and what goes with it into the bundle."""

    model: nn.Module
    notes: tuple[str, ...] = ()
    pack: Pack | None = None
    after_update: Callable[[], None] = lambda: None


def _model(request: Request, found: Any, method: Method, layers: tuple[int, ...]) -> _Model:
    if method.logits == "classes" and method.trains == "head":
        return _Model(headed(request, found, layers))
    if new_blocks(request):
        return _Model(expanded(request, found, layers, new_blocks(request)))
    model = on_meta(request, found, head=_head(request, found, method))
    notes: tuple[str, ...] = ()
    pack = None
    if request.quant != "none":
        try:
            bits = _module("quantisation")
        except ImportError as error:
            raise UserError(
                f"quant {request.quant!r} is traced with bitsandbytes: {error}"
            ) from error
        notes = bits.quantised(request, model)
        pack = partial(bits.filled, dtype=DTYPES[request.weights_dtype])
    adapter = method if method.trains in ("added", "norms") else None
    if method.adapter and _with_adapter(request):
        adapter = methods.find(method.adapter)
    if adapter is None:
        return _Model(model, notes, pack)
    adapters = _module("adapters")
    model = adapters.adapted(request, model, adapter)
    return _Model(model, notes, pack, adapters.after_update(model))


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
