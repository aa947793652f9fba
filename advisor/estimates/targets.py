"""Which linears a method changes: the words people use, as roles of the architecture."""

from collections.abc import Iterator
from typing import Final

from knowledge.architecture import Architecture, Linear
from knowledge.errors import unknown

ATTENTION: Final = ("q", "k", "v", "o", "q_a", "q_b", "kv_a", "kv_b", "qkv")
CROSS: Final = ("cross_q", "cross_k", "cross_v", "cross_o")
MLP: Final = ("gate", "up", "down", "gate_up")
EXPERTS: Final = (
    "expert_gate", "expert_up", "expert_down", "expert_gate_up",
    "shared_gate", "shared_up", "shared_down", "shared_gate_up",
)  # fmt: skip
ALL: Final = (*ATTENTION, *CROSS, *MLP, *EXPERTS, "router")

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "all-linear": (*ATTENTION, *CROSS, *MLP, *EXPERTS),
    "all": (*ATTENTION, *CROSS, *MLP, *EXPERTS),
    "attention-and-mlp": (*ATTENTION, *CROSS, *MLP, *EXPERTS),
    "attention": ATTENTION, "self_attn": ATTENTION, "attn": ATTENTION,
    "mlp": (*MLP, *EXPERTS), "ffn": (*MLP, *EXPERTS), "experts": EXPERTS,
    "q": ("q", "q_a", "q_b"), "query": ("q",), "wq": ("q",), "q_lin": ("q",),
    "k": ("k", "kv_a"), "key": ("k",), "wk": ("k",), "k_lin": ("k",),
    "v": ("v", "kv_b"), "value": ("v",), "wv": ("v",), "v_lin": ("v",),
    "kv_a_with_mqa": ("kv_a",), "kv_a": ("kv_a",), "kv_b": ("kv_b",),
    "q_a": ("q_a",), "q_b": ("q_b",),
    "qkv": ("qkv", "q", "k", "v"), "c_attn": ("qkv", "q", "k", "v"),
    "w_pack": ("qkv", "q", "k", "v"),
    "query_key_value": ("qkv", "q", "k", "v"), "wqkv": ("qkv", "q", "k", "v"),
    "o": ("o",), "out": ("o",), "output": ("o",), "wo": ("o",), "dense": ("o",), "out_lin": ("o",),
    "proj": ("o",), "c_proj": ("o", "down"),
    "gate": ("gate",), "w1": ("up",), "w2": ("gate",), "w3": ("up",), "up": ("up",),
    "down": ("down",), "gate_up": ("gate_up", "gate", "up"),
    "fc1": ("up",), "fc2": ("down",), "fc_in": ("up",), "fc_out": ("down",), "c_fc": ("up",),
    "dense_h_to_4h": ("up",), "dense_4h_to_h": ("down",), "lin1": ("up",), "lin2": ("down",),
    "wi": ("up",), "wi_0": ("gate",), "wi_1": ("up",), "router": ("router",),
    "head": (), "lm_head": (), "embed_tokens": (), "norm": (), "input_layernorm": (),
    "post_attention_layernorm": (), "embeddings": (), "score": (), "classifier": (),
}  # fmt: skip
HEAD_WORDS: Final = ("head", "lm_head")


def chosen(arch: Architecture, words: str) -> tuple[Linear, ...]:
    """The linears of the blocks that the words mean, merged ones where the library merges them.

    Raises:
        UserError: a word is not known.
    """
    roles = {role for word in said(words) for role in WORDS[word]}
    fused = arch.fused_qkv and {"q", "k", "v"} <= roles
    shapes = arch.linear_shapes(stored=fused)
    return tuple(x for x in shapes if x.name in roles)


def with_head(words: str) -> bool:
    """Whether the words include the vocabulary head."""
    return any(word in HEAD_WORDS for word in said(words))


def said(words: str) -> Iterator[str]:
    """The known words, module paths cut to their last part and `_proj` dropped.

    Raises:
        UserError: a word is not known.
    """
    for raw in words.replace(";", ",").split(","):
        if not raw.strip():
            continue
        last = raw.strip().lower().split(".")[-1]
        word = last if last in WORDS else last.removesuffix("_proj").removesuffix("_linear")
        if word not in WORDS:
            raise unknown("target", raw.strip(), WORDS)
        yield word
