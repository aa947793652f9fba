"""Decoders in Llama's line: rotary positions, pre-norm blocks, standard key names.

Sources: the modelling files of transformers 5.23, one a family.
"""

from typing import Any

from knowledge.architecture import Architecture, Code
from knowledge.families.keys import Keys


def shape(k: Keys) -> dict[str, Any]:
    """The fields that all these families read under the same keys."""
    hidden, heads = k.count("hidden_size"), k.count("num_attention_heads")
    kv_heads = k.count("num_key_value_heads", default=heads)
    k.quotient("num_attention_heads", "num_key_value_heads", heads, kv_heads)
    if k.has("head_dim"):
        head_dim = k.count("head_dim")
    else:
        head_dim = k.quotient("hidden_size", "num_attention_heads", hidden, heads)
    return {
        "kind": "decoder",
        "layers": k.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "ffn": k.count("intermediate_size"),
        "vocab": k.count("vocab_size"),
        "context": k.count("max_position_embeddings"),
        "tied": k.flag("tie_word_embeddings"),
        "rotary_dim": head_dim,
        "activation": k.word("hidden_act", "hidden_activation", default="silu"),
        "attention_dropout": k.share("attention_dropout"),
    }


def biases(k: Keys, *, mlp: bool = False) -> dict[str, Any]:
    """The biases that `attention_bias` (and `mlp_bias`) switch on."""
    attention = k.flag("attention_bias", default=False)
    mlp_bias = k.flag("mlp_bias", default=False) if mlp else False
    return {"qkv_bias": attention, "o_bias": attention, "mlp_bias": mlp_bias}


def rotary_dim(k: Keys, head_dim: int, default: float = 1.0) -> int:
    """Dimensions of a head that are rotated, from the part that the config names."""
    nested = k.part("rope_parameters").get("partial_rotary_factor", default)
    return int(head_dim * k.share("partial_rotary_factor", "rotary_pct", default=nested))


def windowed(k: Keys, layers: int, by_default: int) -> int:
    """How many layers slide: as `layer_types` lists them, else the family's pattern."""
    types = k.items("layer_types")
    if types:
        return sum(kind == "sliding_attention" for kind in types[:layers])
    return by_default if k.has("sliding_window") else 0


def window(k: Keys, layers: int, by_default: int) -> dict[str, Any]:
    """The sliding window and the layers that have it."""
    count = windowed(k, layers, by_default)
    return {
        "window": k.count("sliding_window") if count else None,
        "windowed_layers": count,
    }


def qwen_window(k: Keys, layers: int) -> dict[str, Any]:
    """Qwen's window: off unless `use_sliding_window`, and then only in the upper layers."""
    if not k.flag("use_sliding_window", default=False):
        return {}
    return window(k, layers, max(0, layers - k.count_or_zero("max_window_layers")))


AFTER = Code(norm="cast-last")


def llama(k: Keys) -> Architecture:
    return Architecture(**shape(k), **biases(k, mlp=True))


def mistral(k: Keys) -> Architecture:
    fields = shape(k)
    scaled = k.family == "ministral3"
    return Architecture(
        **fields,
        **window(k, fields["layers"], fields["layers"]),
        code=Code(scaled_queries=scaled),
    )


def qwen2(k: Keys) -> Architecture:
    fields = shape(k)
    return Architecture(**fields, **qwen_window(k, fields["layers"]), qkv_bias=True)


def qwen3(k: Keys) -> Architecture:
    fields = shape(k)
    sliding = qwen_window(k, fields["layers"])
    return Architecture(**fields, **biases(k), **sliding, qk_norm="shared")


def hunyuan(k: Keys) -> Architecture:
    return Architecture(**shape(k), **biases(k), qk_norm="shared")


def gemma(k: Keys) -> Architecture:
    return Architecture(
        **{**shape(k), "activation": "gelu"}, **biases(k), code=Code(norm="one-plus")
    )


def gemma2(k: Keys) -> Architecture:
    fields = {**shape(k), "activation": "gelu"}
    return Architecture(
        **fields,
        **biases(k),
        **window(k, fields["layers"], (fields["layers"] + 1) // 2),
        norms_per_block=4,
        attention_softcap=True,
        logits_softcap=True,
        code=Code(norm="one-plus", attention="eager"),
    )


def gemma3(k: Keys) -> Architecture:
    fields = {**shape(k), "activation": "gelu"}
    pattern = k.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    full = fields["layers"] // pattern
    return Architecture(
        **fields,
        **biases(k),
        **window(k, fields["layers"], fields["layers"] - full),
        norms_per_block=4,
        qk_norm="shared",
        code=Code(norm="one-plus"),
    )


def phi(k: Keys) -> Architecture:
    fields = shape(k)
    return Architecture(
        **{
            **fields,
            "rotary_dim": rotary_dim(k, fields["head_dim"], 0.5),
            "activation": k.word("hidden_act", default="gelu_new"),
        },
        norm="layer",
        norm_bias=True,
        norms_per_block=1,
        parallel=True,
        gated=False,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        head_bias=True,
        dropout=k.share("resid_pdrop"),
        qk_norm="shared" if k.flag("qk_layernorm", default=False) else "none",
        qk_norm_bias=True,
        code=Code(norm="kernel", rotation="part"),
    )


def phi3(k: Keys) -> Architecture:
    fields = shape(k)
    return Architecture(
        **{**fields, "rotary_dim": rotary_dim(k, fields["head_dim"])},
        **window(k, fields["layers"], fields["layers"]),
        fused_qkv=True,
        fused_gate_up=True,
        dropout=k.share("resid_pdrop"),
        code=Code(rotation="part", fused_read="slices"),
    )


def olmo(k: Keys) -> Architecture:
    return Architecture(**shape(k), **biases(k), norm="plain")


def olmo2(k: Keys) -> Architecture:
    return Architecture(**shape(k), **biases(k), post_norm=True, qk_norm="per-head", code=AFTER)


def olmo3(k: Keys) -> Architecture:
    fields = shape(k)
    layers = fields["layers"]
    sliding = window(k, layers, layers - layers // 4)
    return Architecture(
        **fields, **biases(k), **sliding, post_norm=True, qk_norm="per-head", code=AFTER
    )


def granite(k: Keys) -> Architecture:
    scaled = Code(scaled_residual=True, scaled_logits=True)
    return Architecture(**shape(k), **biases(k, mlp=True), code=scaled)


def smollm3(k: Keys) -> Architecture:
    return Architecture(**shape(k), **biases(k, mlp=True))


def cohere(k: Keys) -> Architecture:
    return Architecture(
        **shape(k),
        **biases(k),
        norm="layer",
        norms_per_block=1,
        parallel=True,
        qk_norm="per-head" if k.flag("use_qk_norm", default=False) else "none",
        code=Code(norm="fp32", rotation="fp32", scaled_logits=True),
    )


def stablelm(k: Keys) -> Architecture:
    fields = shape(k)
    parallel = k.flag("use_parallel_residual", default=False)
    return Architecture(
        **{**fields, "rotary_dim": rotary_dim(k, fields["head_dim"], 0.25)},
        norm="layer",
        norm_bias=True,
        norms_per_block=1 if parallel else 2,
        parallel=parallel,
        qkv_bias=k.flag("use_qkv_bias", default=False),
        qk_norm="per-head" if k.flag("qk_layernorm", default=False) else "none",
        dropout=k.share("hidden_dropout"),
        code=Code(norm="kernel", rotation="part"),
    )


def starcoder2(k: Keys) -> Architecture:
    fields, bias = shape(k), k.flag("use_bias", default=True)
    return Architecture(
        **{**fields, "activation": "gelu"},
        **window(k, fields["layers"], fields["layers"]),
        norm="layer",
        norm_bias=True,
        gated=False,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=bias,
        dropout=k.share("residual_dropout"),
        code=Code(norm="kernel"),
    )


def nemotron(k: Keys) -> Architecture:
    fields = shape(k)
    return Architecture(
        **{
            **fields,
            "activation": "relu2",
            "rotary_dim": rotary_dim(k, fields["head_dim"], 0.5),
        },
        **biases(k, mlp=True),
        norm="layer",
        norm_bias=True,
        gated=False,
        code=Code(norm="kernel", rotation="part"),
    )
