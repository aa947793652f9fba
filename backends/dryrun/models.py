"""The model of a config.json on the meta device, at any depth, and how many layers it has."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from backends.dryrun import Request
from knowledge import methods
from knowledge.errors import UserError, unknown

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Depth(NamedTuple):
    """Where a configuration keeps its depths, and how layers differ along them."""

    keys: tuple[str, ...]
    """Config keys that hold the number of layers, one for each stack."""
    layers: tuple[int, ...]
    """Layers of each stack."""
    first: int
    """Layers at the start that differ from the rest (dense ones of a mixture of experts)."""
    period: int
    """The pattern of the layers repeats after so many."""
    last: int = 0
    """Layers at the end that a method treats otherwise (the only ones that train)."""


def config(request: Request) -> Any:
    """The configuration, in transformers' own class.

    Raises:
        UserError: no native code for the model_type, or it needs code from the hub.
    """
    keys = dict(request.config)
    kind = keys.pop("model_type", None)
    if kind is None:
        raise UserError("the config has no model_type; a config.json of transformers has one")
    if kind not in CONFIG_MAPPING:
        reason = " (its auto_map asks for code from the hub)" if keys.get("auto_map") else ""
        error = unknown("model_type with native code in transformers", str(kind), CONFIG_MAPPING)
        raise UserError(f"cannot trace{reason}: {error}")
    for key in ("auto_map", "architectures", "quantization_config", "transformers_version"):
        keys.pop(key, None)
    try:
        found = AutoConfig.for_model(kind, **keys)
    except (TypeError, ValueError, KeyError, StrictDataclassError) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"config of model_type {kind!r}: {line}") from error
    found = getattr(found, "text_config", None) or found
    if getattr(found, "is_encoder_decoder", False):  # a token id, whichever, to begin with
        if getattr(found, "decoder_start_token_id", None) is None:
            found.decoder_start_token_id = 0
        if getattr(found, "pad_token_id", None) is None:
            found.pad_token_id = 0
    return found


def depth(request: Request) -> Depth:
    """The depths of a request's model and their pattern.

    Raises:
        UserError: as `config`.
    """
    place = _depth(config(request))
    if request.method == "head-ft" and request.train == "last-k":
        return place._replace(last=request.last_k)
    new = new_blocks(request)
    if new and len(place.layers) == 1:
        whole = place.layers[0] + new
        even = place.period == 1 and place.first == 0 and whole % new == 0
        return place._replace(layers=(whole,), period=whole // new if even else whole)
    return place


def new_blocks(request: Request) -> int:
    """Blocks that a method puts between the model's own."""
    method = methods.find(request.method)
    return int(method.defaults.get("new_layers", 0))


def _depth(found: Any) -> Depth:
    if getattr(found, "is_encoder_decoder", False):
        pairs = (("num_layers", "num_decoder_layers"), ("encoder_layers", "decoder_layers"))
        for pair in pairs:
            if all(isinstance(getattr(found, key, None), int) for key in pair):
                return Depth(pair, tuple(getattr(found, key) for key in pair), 0, 1)
    key = "num_hidden_layers"
    key = getattr(found, "attribute_map", {}).get(key, key)
    count = getattr(found, key, None)
    if not isinstance(count, int):
        raise UserError(f"no number of layers in the config of model_type {found.model_type!r}")
    first, period = _pattern(found, count)
    return Depth((key,), (count,), first, period)


def _pattern(found: Any, count: int) -> tuple[int, int]:
    """Layers at the start that differ, and the period of the others."""
    marks = list(zip(*_marks(found, count), strict=True))
    for first in range(min(8, count)):
        rest = marks[first:]
        for period in range(1, min(13, len(rest) // 2 + 1)):
            if all(rest[i] == rest[i - period] for i in range(period, len(rest))):
                return first, period
    return 0, count


def _marks(found: Any, count: int) -> list[list[Any]]:
    """What differs from layer to layer, as far as configurations say."""
    marks: list[list[Any]] = [[None] * count]
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers"):
        listed = getattr(found, name, None)
        if isinstance(listed, list | tuple) and len(listed) == count:
            marks.append(list(listed))
    dense = getattr(found, "first_k_dense_replace", None)
    if isinstance(dense, int) and getattr(found, "mlp_layer_types", None) is None:
        marks.append([i < dense for i in range(count)])
    every = getattr(found, "global_attn_every_n_layers", None)
    if isinstance(every, int):
        marks.append([i % every == 0 for i in range(count)])
    return marks


def shortened(request: Request, place: Depth, layers: tuple[int, ...]) -> Any:
    """The configuration with other depths; lists that go by layer are cut to fit."""
    keys = dict(request.config)
    found = config(request)
    text = keys.get("text_config")
    owner = dict(text) if isinstance(text, Mapping) else keys
    for key, count, whole in zip(place.keys, layers, place.layers, strict=True):
        for name in (key, *_aliases(found, key)):
            owner.pop(name, None)
        owner[key] = count
        for name in ("layer_types", "mlp_layer_types", "no_rope_layers"):
            listed = getattr(found, name, None)
            if isinstance(listed, list | tuple) and len(listed) == whole:
                owner[name] = list(listed[:count])
    if "max_window_layers" in owner:
        owner["max_window_layers"] = min(owner["max_window_layers"], layers[-1])
    return config(Request(config={"model_type": found.model_type, **_without(owner, "model_type")}))


def _aliases(found: Any, key: str) -> list[str]:
    return [name for name, real in getattr(found, "attribute_map", {}).items() if real == key]


def _without(keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if key != name}


Head = Literal["vocabulary", "none"] | int
"""A vocabulary's, none, or one of so many classes."""


def is_encoder(found: Any) -> bool:
    """Whether it is an encoder alone."""
    kind = found.model_type
    pair = getattr(found, "is_encoder_decoder", False)
    return kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not pair


def auto_class(found: Any, head: Head) -> Any:
    """The class of transformers that has the head a method needs.

    Raises:
        UserError: transformers has none.
    """
    kind = found.model_type
    if isinstance(head, int):
        return AutoModelForSequenceClassification
    if head == "none":
        return AutoModel
    if is_encoder(found):
        return AutoModelForMaskedLM
    if getattr(found, "is_encoder_decoder", False):
        if kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
            return AutoModelForSeq2SeqLM
    elif kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return AutoModelForCausalLM
    raise UserError(f"transformers has no model with a vocabulary head for model_type {kind!r}")


def on_meta(request: Request, found: Any, head: Head = "vocabulary") -> torch.nn.Module:
    """The model without any numbers in it.

    Raises:
        UserError: transformers cannot build it, with its reason.
    """
    if isinstance(head, int):
        found.num_labels = head
        if getattr(found, "pad_token_id", None) is None:
            found.pad_token_id = 0
    found._attn_implementation = request.attention
    kind = found.model_type
    build: Callable[..., torch.nn.Module]
    build = auto_class(found, head).from_config
    for attention in dict.fromkeys((request.attention, "eager")):
        try:
            with torch.device("meta"):
                model = build(
                    found, dtype=DTYPES[request.weights_dtype], attn_implementation=attention
                )
                return _untied(request, model)
        except (
            ArithmeticError,
            AssertionError,
            ValueError,
            ImportError,
            AttributeError,
            RuntimeError,
            TypeError,
        ) as error:  # whatever a strange config makes it say
            line = " ".join(str(error).split())[:200]
            if "attention implementation" in line and attention != "eager":
                continue
            raise UserError(f"transformers cannot build model_type {kind!r}: {line}") from error
    raise AssertionError("every attention was tried")


def _untied(request: Request, model: Any) -> torch.nn.Module:
    """The model with a head of its own where its config says so.

    transformers ties T5's whatever the config says, until a checkpoint brings the head's weights.
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    apart = request.config.get("tie_word_embeddings") is False
    if head is not None and apart and head.weight is model.get_input_embeddings().weight:
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    untied: torch.nn.Module = model
    return untied


def attention_note(request: Request, model: torch.nn.Module) -> tuple[str, ...]:
    """What was used instead, where a model's code lacks the attention asked for."""
    used = model.config._attn_implementation
    if used == request.attention:
        return ()
    kind = model.config.model_type
    return (f"{kind} has no {request.attention} attention in transformers; traced with {used}",)
