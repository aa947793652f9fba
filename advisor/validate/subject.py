"""The model of a measured row: of the catalogue where it is that model, else made from its sizes.

A published row names a model in its own way and often gives its sizes. The parameter count is
the judge: a catalogue model counts only if it has as many, and sizes without a family become the
family whose count comes nearest.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from math import cbrt
from typing import Any

from knowledge import families, models
from knowledge.architecture import Architecture
from knowledge.errors import UserError
from knowledge.measured import MemoryRow

SAME = 0.02
"""How far two parameter counts of one model may lie apart (sources count heads differently)."""
HEAD = 64
ASPECT = 128
"""Width over depth of a decoder of which only the size is known.

Source: https://arxiv.org/abs/2001.08361, section 3.2: loss hardly depends on it; published
decoders from 1B to 405B lie between 60 and 130.
"""
VOCABULARY = 32_000
EXPERTS = (64, 128, 256, 512)
USED = range(1, 17)
LONGEST = 1_048_576
POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")

Config = dict[str, Any]


def named(model: str, params: float | None) -> str | None:
    """The catalogue id of a model if the catalogue has it, with as many parameters.

    Some libraries hold a tied head apart and count it twice; that is the same model.
    """
    try:
        row = models.find(model)
    except UserError:
        return None
    shape = row.architecture()
    counts = (shape.parameters(), shape.parameters() + shape.vocab * shape.hidden)
    if params is None or any(abs(count / params - 1) <= SAME for count in counts):
        return row.id
    return None


def of_memory(row: MemoryRow) -> str | Config:
    """The model of a memory row, as a job takes it.

    Raises:
        UserError: the catalogue does not have it and its sizes are not given.
    """
    known = named(row.model, row.params)
    if known is not None:
        return known
    if row.hidden is None or row.heads is None or not row.n_layers or row.vocab is None:
        raise UserError(f"no model {row.model!r} in the catalogue, and its sizes are not given")
    if row.params is not None:
        exact = row.params
        return min(_shapes(row), key=lambda config: abs(_count(config) / exact - 1))
    about = _said(row.model)
    near = [c for c in _shapes(row) if about and abs(_count(c) / about - 1) <= SAME]
    return near[0] if near else next(_shapes(row))


def of_size(model: str, params: float | None, active: float | None) -> str | Config:
    """The model of a row that gives no sizes but parameter counts, as a job takes it.

    Raises:
        UserError: the catalogue does not have it and no count is given.
    """
    known = named(model, params)
    if known is not None:
        return known
    if params is None:
        raise UserError(f"no model {model!r} in the catalogue, and its parameters are not given")
    return dict(_decoder(params) if active is None else _experts(params, active))


def reaching(model: str | Config, tokens: float | None) -> str | Config:
    """The model with room for sequences this long: benchmarks exceed what a model was made for."""
    if isinstance(model, dict) or tokens is None:
        return model
    row = models.find(model)
    if tokens <= (row.architecture().context or tokens):
        return model
    config = dict(row.config)
    key = next((key for key in POSITIONS if key in config), POSITIONS[0])
    return config | {key: int(tokens)}


def parameters(model: str | Config) -> tuple[int, int]:
    """The parameters in all and those that one token uses."""
    shape = _architecture(model)
    return shape.parameters(), shape.active_parameters()


def _said(name: str) -> float | None:
    """The parameters that a name says, such as 22B."""
    found = re.search(r"(\d+(?:\.\d+)?)\s*B\b", name)
    return float(found[1]) * 1e9 if found else None


def _architecture(model: str | Config) -> Architecture:
    if isinstance(model, str):
        return models.find(model).architecture()
    return families.architecture(model)


def _count(config: Config) -> int:
    try:
        return families.architecture(config).parameters()
    except UserError:
        return 0  # this family cannot have these sizes: as far away as can be


def _shapes(row: MemoryRow) -> Iterator[Config]:
    """The sizes of a row as each family would write them, the commonest first."""
    layers = row.n_layers.partition("+")
    sizes: Config = {
        "hidden_size": int(row.hidden or 0),
        "num_hidden_layers": int(float(layers[0])),
        "num_attention_heads": int(row.heads or 0),
        "num_key_value_heads": int(row.kv_heads or row.heads or 0),
        "intermediate_size": int(row.ffn or 4 * (row.hidden or 0)),
        "vocab_size": int(row.vocab or 0),
        "max_position_embeddings": int(max(2048, row.seq_len or 0)),
    }
    if layers[2]:
        yield from _pairs(sizes, int(float(layers[2])))
        return
    for family in ("llama", "qwen2", "gpt2", "gpt_neox", "phi"):
        for tied in (False, True):
            yield _written(family, sizes) | {"tie_word_embeddings": tied}


def _written(family: str, sizes: Config) -> Config:
    if family != "gpt2":
        return {"model_type": family, **sizes}
    return {
        "model_type": "gpt2",
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "n_inner": sizes["intermediate_size"],
        "vocab_size": sizes["vocab_size"],
        "n_positions": sizes["max_position_embeddings"],
    }


def _pairs(sizes: Config, decoder_layers: int) -> Iterator[Config]:
    for tied in (False, True):
        yield {
            "model_type": "t5",
            "d_model": sizes["hidden_size"],
            "num_layers": sizes["num_hidden_layers"],
            "num_decoder_layers": decoder_layers,
            "num_heads": sizes["num_attention_heads"],
            "d_kv": sizes["hidden_size"] // sizes["num_attention_heads"],
            "d_ff": sizes["intermediate_size"],
            "vocab_size": sizes["vocab_size"],
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": tied,
        }


@cache
def _decoder(params: float) -> Mapping[str, Any]:
    """A gated decoder with about as many parameters, shaped as published ones are."""
    hidden = _width(params)
    vocabulary = min(VOCABULARY, int(params / 4 / hidden))
    layers = max(1, round(hidden / ASPECT))
    rest = params - _shared(hidden, layers, vocabulary)
    return _llama(hidden, layers, max(hidden // 2, round(rest / (3 * hidden * layers))), vocabulary)


@cache
def _experts(params: float, active: float) -> Mapping[str, Any]:
    """A mixture of experts with about as many parameters in all and used by one token."""
    hidden = _width(active)
    layers = max(1, round(hidden / ASPECT))
    vocabulary = min(VOCABULARY, int(active / 4 / hidden))
    shared = _shared(hidden, layers, vocabulary)
    share = (active - shared) / (params - shared)
    experts, used = min(
        ((count, used) for count in EXPERTS for used in USED if used < count),
        key=lambda pair: abs(pair[1] / pair[0] / share - 1),
    )
    width = max(64, round((params - shared) / (layers * 3 * hidden * experts)))
    return {
        **_llama(hidden, layers, width, vocabulary),
        "model_type": "mixtral",
        "num_local_experts": experts,
        "num_experts_per_tok": used,
    }


def _width(params: float) -> int:
    """The width of a decoder of this size, in steps that leave eight ranks equal shares."""
    step = 8 * HEAD if params > 5e8 else 2 * HEAD
    return step * max(1, round(cbrt(params * ASPECT / 12) / step))


def _shared(hidden: int, layers: int, vocabulary: int) -> int:
    """The parameters outside the feed-forward layers."""
    return 2 * vocabulary * hidden + layers * 4 * hidden**2


def _llama(hidden: int, layers: int, ffn: int, vocabulary: int) -> Config:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": hidden // HEAD,
        "intermediate_size": ffn,
        "vocab_size": vocabulary,
        "max_position_embeddings": LONGEST,
        "tie_word_embeddings": False,
    }
