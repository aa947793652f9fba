"""Encoders, bare: the base model with the pooler that its class builds.

Sources: the modelling files of transformers 5.23, one a family.
"""

from typing import Any

from knowledge.architecture import Architecture, Code
from knowledge.errors import UserError
from knowledge.families.decoders import windowed
from knowledge.families.keys import Keys


def body(k: Keys, hidden: str, layers: str, heads: str, ffn: str) -> dict[str, Any]:
    """What every encoder here has, under its family's key names."""
    width, count = k.count(hidden, "hidden_size"), k.count(heads, "num_attention_heads")
    return {
        "kind": "encoder",
        "layers": k.count(layers, "num_hidden_layers"),
        "hidden": width,
        "heads": count,
        "kv_heads": count,
        "head_dim": k.quotient(hidden, heads, width, count),
        "ffn": k.count(ffn, "intermediate_size"),
        "vocab": k.count("vocab_size"),
        "gated": False,
        "embedding_norm": True,
        "tied": True,
    }


def bertlike(k: Keys) -> dict[str, Any]:
    """The shape under BERT's key names, with BERT's post-norm blocks and biases."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    return {
        **body(k, *names),
        **POST_NORM,
        "activation": k.word("hidden_act", default="gelu"),
        "dropout": k.share("hidden_dropout_prob", default=0.1),
        "attention_dropout": k.share("attention_probs_dropout_prob", default=0.1),
    }


POST_NORM: dict[str, Any] = {
    "norm": "layer",
    "norm_bias": True,
    "post_norm": True,
    "final_norm": False,
    "qkv_bias": True,
    "o_bias": True,
    "mlp_bias": True,
    "code": Code(norm="kernel", narrow_loss=True, holds_inner=True),
}


def learned(k: Keys, width: int, reserved: int = 0) -> dict[str, Any]:
    """Learned positions; RoBERTa's line reserves the first rows of the table for padding."""
    rows = k.count("max_position_embeddings")
    return {
        "positions": "learned",
        "context": rows - reserved,
        "position_parameters": rows * width,
    }


def bert(k: Keys) -> Architecture:
    fields = bertlike(k)
    places = learned(k, fields["hidden"])
    return Architecture(**fields, **places, token_types=k.count("type_vocab_size"), pooler=True)


def roberta(k: Keys) -> Architecture:
    fields = bertlike(k)
    places = learned(k, fields["hidden"], reserved=2)
    return Architecture(**fields, **places, token_types=k.count("type_vocab_size"), pooler=True)


def distilbert(k: Keys) -> Architecture:
    fields = body(k, "dim", "n_layers", "n_heads", "hidden_dim")
    return Architecture(
        **fields,
        **POST_NORM | {"code": Code(norm="kernel", narrow_loss=True)},
        **learned(k, fields["hidden"]),
        activation=k.word("activation", default="gelu"),
        dropout=k.share("dropout", default=0.1),
        attention_dropout=k.share("attention_dropout", default=0.1),
    )


def electra(k: Keys) -> Architecture:
    width = k.count("embedding_size")
    return Architecture(
        **bertlike(k),
        **learned(k, width),
        embedding_size=width,
        embedding_bias=True,
        token_types=k.count("type_vocab_size"),
    )


def albert(k: Keys) -> Architecture:
    """ALBERT: one block (or a few) repeated; depth costs time and activations, not weights."""
    width = k.count("embedding_size")
    if k.count("inner_group_num") != 1:
        raise UserError(
            "an albert config with inner_group_num above 1 can't be estimated in closed form; "
            "no published one has it"
        )
    return Architecture(
        **{
            **bertlike(k),
            "activation": k.word("hidden_act", default="gelu_new"),
            "code": Code(norm="kernel", narrow_loss=True, embeds="narrow"),
            "dropout": k.share("hidden_dropout_prob"),
            "attention_dropout": k.share("attention_probs_dropout_prob"),
        },
        **learned(k, width),
        embedding_size=width,
        embedding_bias=True,
        token_types=k.count("type_vocab_size"),
        shared_groups=k.count("num_hidden_groups"),
        pooler=True,
    )


def mpnet(k: Keys) -> Architecture:
    """MPNet: learned positions, and one table of relative biases for all layers."""
    fields = bertlike(k)
    places = learned(k, fields["hidden"], reserved=2)
    places["position_parameters"] += k.count("relative_attention_num_buckets") * fields["heads"]
    code = Code(norm="kernel", attention="eager", biased=True, narrow_loss=True, holds_inner=True)
    return Architecture(**{**fields, **places, "positions": "relative", "code": code}, pooler=True)


def deberta(k: Keys) -> Architecture:
    """DeBERTa-v2 and v3: disentangled attention over a table of relative positions.

    Source: https://arxiv.org/abs/2111.09543; DebertaV2Model in transformers 5.23.
    """
    fields = bertlike(k)
    hidden, rows = fields["hidden"], k.count("max_position_embeddings")
    narrow = k.count("embedding_size", default=hidden) != hidden
    if narrow or k.count_or_zero("conv_kernel_size"):
        raise UserError(
            "a deberta-v2 config with a convolution or an embedding_size other than hidden_size "
            "can't be estimated in closed form"
        )
    parameters = rows * hidden if k.flag("position_biased_input", default=True) else 0
    if k.flag("relative_attention", default=False):
        parameters += _disentangled(k, fields["layers"], hidden)
    return Architecture(
        **{
            **fields,
            "code": Code(
                norm="kernel",
                attention="disentangled",
                narrow_loss=True,
                returns_states=True,
                holds_inner=True,
            ),
        },
        positions="disentangled",
        context=rows,
        position_parameters=parameters,
        token_types=k.count_or_zero("type_vocab_size"),
        relative_rows=2 * _reach(k) if k.flag("relative_attention", default=False) else 0,
    )


def _reach(k: Keys) -> int:
    """How far the table of relative positions reaches to one side."""
    reach = k.whole("max_relative_positions", -1)
    reach = reach if reach >= 1 else k.count("max_position_embeddings")
    buckets = k.whole("position_buckets", -1)
    return buckets if buckets > 0 else reach


def _disentangled(k: Keys, layers: int, hidden: int) -> int:
    """Parameters of the relative table, its norm and each layer's projections of it."""
    table = 2 * _reach(k) * hidden
    norm = 2 * hidden if "layer_norm" in k.words("norm_rel_ebd") else 0
    if k.flag("share_att_key", default=False):
        return table + norm
    projections = sum(kind in ("c2p", "p2c") for kind in k.words("pos_att_type"))
    return table + norm + layers * projections * hidden * (hidden + 1)


def modernbert(k: Keys) -> Architecture:
    """ModernBERT: rotary, gated, pre-norm; every third layer sees everything."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    fields = body(k, *names)
    layers, every = fields["layers"], k.count("global_attn_every_n_layers", default=3)
    full = -(-layers // every)
    bias = k.flag("attention_bias", default=False)
    listed = k.items("layer_types")
    return Architecture(
        **{**fields, "gated": True},
        context=k.count("max_position_embeddings"),
        rotary_dim=fields["head_dim"],
        norm="layer",
        norm_bias=k.flag("norm_bias", default=False),
        first_norm=False,
        qkv_bias=bias,
        o_bias=bias,
        mlp_bias=k.flag("mlp_bias", default=False),
        activation=k.word("hidden_activation", default="gelu"),
        fused_qkv=True,
        fused_gate_up=True,
        code=Code(norm="kernel", rotation="fp32", fused_read="views", inner_dropout=True),
        window=k.count("local_attention"),
        windowed_layers=windowed(k, layers, 0) if listed else layers - full,
        dropout=k.share("mlp_dropout"),
        attention_dropout=k.share("attention_dropout"),
    )
