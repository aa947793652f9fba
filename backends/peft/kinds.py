"""The methods of the backend: which settings are theirs, and how each prepares a base.

A method's default rates come from its paper where that says them for a like model; those of
classifiers were measured on banking77 with MiniLM.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from peft.utils import INCLUDE_LINEAR_LAYERS_SHORTHAND

from backends.finetune.tasks import TAG
from backends.finetune.tuned import Base
from backends.peft import Settings, bottleneck
from backends.peft.bottleneck import Bottleneck
from knowledge.errors import UserError

LORA = ("rank", "alpha", "dropout", "targets", "rslora", "dora", "merge")
QUANT = ("quant_type", "double_quant")
BOTTLENECK = ("width", "after", "layers", "activation", "scale", "dropout")
TOKENS = ("tokens",)
TAG_HEADS = ("classifier", "score")  # as transformers calls the last map of a tagger
OWN = {*LORA, *QUANT, *BOTTLENECK, *TOKENS}


class Kind(NamedTuple):
    """A method: its own settings, its default rates and passes, and how it prepares a base."""

    own: tuple[str, ...]
    learning_rate: float
    epochs: float
    prepared: Callable[[Base, Settings], Any]
    lengthens: bool = False  # its vectors take places of the sequence
    four_bits: bool = False
    packs: bool = True


def prepared(method: str, base: Base, settings: Settings) -> Any:
    """The base, frozen, with what the method adds; parameters that are new to it learn too.

    Raises:
        UserError: no module has the name of a target, or no layer its number.
    """
    base.model.name_or_path = base.model.config._name_or_path = base.source
    with without_deprecations():
        return KINDS[method].prepared(base, settings)


def refuse_foreign(method: str, settings: Settings) -> None:
    """Raise `UserError` for a setting that means nothing to the method."""
    usual = Settings()
    own = KINDS[method].own
    for name in sorted(OWN - set(own)):
        if getattr(settings, name) != getattr(usual, name):
            raise UserError(
                f"{name}: {getattr(settings, name)!r} means nothing to {method}; "
                f"its own settings are {', '.join(own)}"
            )


def placed(method: str, settings: Settings) -> Bottleneck | None:
    """Where a method's bottlenecks stand, or None where it has none."""
    defaults = _BOTTLENECKS.get(method)
    if defaults is None:
        return None
    return msgspec.structs.replace(
        defaults,
        width=settings.width,
        after=settings.after or defaults.after,
        layers=settings.layers,
        activation=settings.activation,
        scale=settings.scale or defaults.scale,
        dropout=0.0 if settings.dropout == Settings().dropout else settings.dropout,
    )


@contextmanager
def without_deprecations() -> Iterator[None]:
    """PEFT 0.21 asks transformers 5.23 by a name that is on its way out; no user can mend it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*deprecated")
        yield


def _lora(base: Base, settings: Settings) -> Any:
    config = LoraConfig(
        task_type=base.task,
        r=settings.rank,
        lora_alpha=settings.alpha or 2 * settings.rank,
        lora_dropout=settings.dropout,
        target_modules=_targets(settings),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        modules_to_save=_whole_modules(base),
        # PEFT leaves the head of texts' classifiers out of all-linear, but not that of tokens'.
        exclude_modules=list(TAG_HEADS) if base.task == TAG else None,
    )
    return _with(base, config, settings.targets)


def _dora(base: Base, settings: Settings) -> Any:
    return _lora(base, msgspec.structs.replace(settings, dora=True))


def _ia3(base: Base, settings: Settings) -> Any:
    config = IA3Config(task_type=base.task, modules_to_save=_whole_modules(base))
    return _with(base, config, "those PEFT knows for the model")


def _soft(kind: Callable[..., PeftConfig]) -> Callable[[Base, Settings], Any]:
    def made(base: Base, settings: Settings) -> Any:
        config = kind(
            task_type=base.task,
            num_virtual_tokens=settings.tokens,
            modules_to_save=_whole_modules(base),
        )
        model = _with(base, config, "none")
        _start_from_words(model, base)
        return model

    return made


def _bottleneck(method: str) -> Callable[[Base, Settings], Any]:
    def made(base: Base, settings: Settings) -> Any:
        place = placed(method, settings)
        assert place is not None
        bottleneck.insert(base.model, place)
        for name, parameter in base.model.named_parameters():
            if name in base.new:
                parameter.requires_grad_(True)
        return base.model

    return made


def _start_from_words(model: Any, base: Base) -> None:
    """Begin a soft prompt at the vectors of words, which lie where the model is used to them.

    PEFT's default is uniform noise over [0, 1]; the paper found vocabulary a better start
    (https://arxiv.org/abs/2104.08691, section 3.2).
    """
    prompt = model.prompt_encoder["default"]
    words = base.model.get_input_embeddings().weight
    if type(prompt).__name__ != "PromptEmbedding" or words.is_meta:
        return
    vectors = prompt.embedding.weight
    picked = torch.randint(len(words), (len(vectors),), device=words.device)
    with torch.no_grad():
        vectors.copy_(words[picked])


def _with(base: Base, config: PeftConfig, targets: Any) -> Any:
    try:
        return get_peft_model(base.model, config, low_cpu_mem_usage=_is_meta(base.model))
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in base.model.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise UserError(
            f"targets {targets!r}: {' '.join(str(error).split())[:120]}; "
            f"{base.name!r} has {', '.join(sorted(linear))}"
        ) from error


def _is_meta(model: Any) -> bool:
    return bool(next(model.parameters()).is_meta)


def _targets(settings: Settings) -> str | list[str]:
    targets = settings.targets
    if isinstance(targets, str):
        if targets == INCLUDE_LINEAR_LAYERS_SHORTHAND:
            return targets
        return [name.strip() for name in targets.split(",") if name.strip()]
    return list(targets)


def _whole_modules(base: Base) -> list[str] | None:
    """The modules that learn in full: those whose parameters no one has trained yet.

    The topmost module below the encoder is named ("classifier", "pooler"), so that its name
    means the same module when PEFT looks for it.
    """
    encoder = f"{base.model.base_model_prefix}."
    return sorted({name.removeprefix(encoder).partition(".")[0] for name in base.new}) or None


_BOTTLENECKS: Mapping[str, Bottleneck] = {
    "adapter-sequential": Bottleneck("sequential", after="both"),
    # Beside the feed-forward only and scaled by four: the best of https://arxiv.org/abs/2110.04366.
    "adapter-parallel": Bottleneck("parallel", after="feed-forward", scale=4.0),
}
KINDS: Mapping[str, Kind] = {
    "lora": Kind(LORA, 1e-3, 4.0, _lora),
    "dora": Kind(LORA, 1e-3, 4.0, _dora),
    "qlora": Kind((*LORA, *QUANT), 1e-3, 4.0, _lora, four_bits=True),
    "ia3": Kind((), 1e-2, 6.0, _ia3),
    "soft-prompt": Kind(TOKENS, 1e-2, 8.0, _soft(PromptTuningConfig), lengthens=True, packs=False),
    "p-tuning": Kind(TOKENS, 3e-3, 8.0, _soft(PromptEncoderConfig), lengthens=True, packs=False),
    "prefix": Kind(TOKENS, 1e-2, 8.0, _soft(PrefixTuningConfig), packs=False),
    "adapter-sequential": Kind(BOTTLENECK, 1e-3, 4.0, _bottleneck("adapter-sequential")),
    "adapter-parallel": Kind(BOTTLENECK, 1e-3, 4.0, _bottleneck("adapter-parallel")),
}
