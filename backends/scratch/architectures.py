"""Models with random weights: Llama, BERT, ModernBERT and T5 of any size."""

import math
from typing import Any, NamedTuple

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from backends.scratch import Settings
from knowledge import families
from knowledge.architecture import Architecture
from knowledge.errors import UserError

HEAD = 64  # numbers of a head: https://arxiv.org/abs/1706.03762, section 3.2.2, and since
ASPECT = 64  # width over depth at which a size does best: https://arxiv.org/abs/2001.08361, fig. 5
WIDEST = 16384
TIED = 1e9  # parameters below which decoders share input and output embedding
WINDOW = 128  # tokens that ModernBERT's local layers see


class Shape(NamedTuple):
    """The three numbers of a size."""

    layers: int
    width: int
    heads: int


def made(settings: Settings, tokenizer: Any, context: int, seed: int) -> Any:
    """The model that the settings describe, its weights drawn from the seed."""
    shape = sized(settings, len(tokenizer), context)
    torch.manual_seed(seed)
    make = {
        "llama": LlamaForCausalLM,
        "bert": BertForMaskedLM,
        "modernbert": ModernBertForMaskedLM,
        "t5": T5ForConditionalGeneration,
    }[settings.family]
    return make(
        config(settings.family, shape, len(tokenizer), context, settings.dropout, tokenizer)
    )


def config(
    family: str, shape: Shape, vocabulary: int, context: int, dropout: float, tokenizer: Any = None
) -> Any:
    """The configuration of a model in transformers' words."""
    end = getattr(tokenizer, "eos_token_id", None)
    ends = {"eos_token_id": end, "pad_token_id": getattr(tokenizer, "pad_token_id", None)}
    if family == "llama":
        return LlamaConfig(
            vocab_size=vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=_gated(shape.width),
            max_position_embeddings=context, attention_dropout=dropout,
            tie_word_embeddings=shape.width * shape.width * 12 * shape.layers < TIED,
            bos_token_id=end, **ends,
        )  # fmt: skip
    if family == "bert":
        return BertConfig(
            vocab_size=vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=4 * shape.width,
            max_position_embeddings=context, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout, pad_token_id=ends["pad_token_id"],
        )  # fmt: skip
    if family == "modernbert":
        return ModernBertConfig(
            vocab_size=vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=_rounded(1.5 * shape.width, 8),
            max_position_embeddings=context, local_attention=min(WINDOW, context),
            mlp_dropout=dropout, attention_dropout=dropout, cls_token_id=end, sep_token_id=end,
            bos_token_id=end, **ends,
        )  # fmt: skip
    return T5Config(
        vocab_size=vocabulary, d_model=shape.width, num_layers=shape.layers,
        num_heads=shape.heads, d_kv=shape.width // shape.heads, d_ff=_gated(shape.width),
        feed_forward_proj="gated-gelu", dropout_rate=dropout, n_positions=context,
        decoder_start_token_id=ends["pad_token_id"], tie_word_embeddings=True, **ends,
    )  # fmt: skip


def sized(settings: Settings, vocabulary: int, context: int) -> Shape:
    """Layers, width and heads: as given, or of the size nearest to `parameters`.

    Raises:
        UserError: neither is given, heads do not divide the width, or no model is that small.
    """
    layers, width, heads = settings.layers, settings.width, settings.heads
    if layers is not None and width is not None:
        heads = heads or _heads(width)
        if width % (2 * heads):
            raise UserError(f"width {width} is no even multiple of {heads} heads; change one")
        return Shape(layers, width, heads)
    if settings.parameters is None:
        raise UserError("no size: give preset, parameters, or layers and width")
    return nearest(settings.family, settings.parameters, vocabulary, context)


def nearest(family: str, parameters: int, vocabulary: int, context: int) -> Shape:
    """The shape whose count of parameters is nearest, among those about as wide as is best.

    Raises:
        UserError: the embedding of the vocabulary alone is larger.
    """
    best: tuple[float, Shape] | None = None
    width = 16
    while width <= WIDEST:
        fewest = max(1, width // (2 * ASPECT))
        for layers in range(fewest, 2 * width // ASPECT + 3):
            shape = Shape(layers, width, _heads(width))
            count = architecture(family, shape, vocabulary, context).parameters()
            if count > 2 * parameters and best is not None:
                break
            off = abs(math.log(count / parameters))
            # Between sizes equally near, the shape nearest to the best proportion.
            off += 0.02 * abs(math.log(width / layers / ASPECT))
            if best is None or off < best[0]:
                best = off, shape
        if count > 2 * parameters and layers == fewest:
            break
        width += 16 if width < 256 else 64
    assert best is not None
    count = architecture(family, best[1], vocabulary, context).parameters()
    if count > 1.5 * parameters:
        raise UserError(
            f"parameters: {parameters:,} is less than a vocabulary of {vocabulary:,} needs; give "
            f"{count:,} or more, or a smaller vocabulary_size"
        )
    return best[1]


def architecture(family: str, shape: Shape, vocabulary: int, context: int) -> Architecture:
    """The same model as the estimators see it."""
    return families.architecture(config(family, shape, vocabulary, context, 0.0).to_dict())


def _heads(width: int) -> int:
    """Heads of 64, but four at least where the width is small."""
    if width % HEAD == 0 and width >= 4 * HEAD:
        return width // HEAD
    return next(heads for heads in (4, 2, 1) if width % (2 * heads) == 0)


def _gated(width: int) -> int:
    """The width of a gated MLP: 8/3, so that it has an ordinary one's parameters.

    Source: https://arxiv.org/abs/2002.05202, section 2.
    """
    return _rounded(8 * width / 3, 8 if width < 512 else 64)


def _rounded(value: float, to: int) -> int:
    return max(to, round(value / to) * to)
