"""Parts of an architecture that have a shape of their own."""

from typing import Literal

import msgspec


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """How transformers computes a family where its memory depends on it, beyond the shape.

    Read in the modelling files of transformers 5.23.
    """

    norm: Literal["scale-last", "cast-last", "one-plus", "narrow", "kernel", "fp32"] = "scale-last"
    """Root-mean-square norms are computed in fp32 and then cast and scaled (scale-last), scaled
    and then cast (cast-last), scaled by 1 + weight (one-plus), or only their variance is in fp32
    (narrow); layer norms are one kernel, or spelt out in fp32."""
    rotation: Literal["half", "part", "fp32", "complex", "interleaved", "pairs"] = "half"
    """Rotary positions: over whole heads, over a part that is joined to the rest again, in fp32,
    as complex numbers, in interleaved halves, in pairs."""
    attention: Literal["any", "eager", "wide", "math", "sinks", "disentangled"] = "any"
    """`any` implementation may be chosen; else scores are always formed: plainly, from fp32
    queries and keys (GPT-J), by torch's plain mathematics in fp32 where no kernel takes the shapes
    (one key for all heads under a mask), with sinks beside them, or disentangled (DeBERTa)."""
    biased: bool = False
    """A learned relative bias is added to the scores, and kept for each layer."""
    masked: bool = False
    """The mask is written out for each layer even where a causal kernel would do."""
    returns_scores: Literal["no", "attended", "scores"] = "no"
    """A block hands on what it attended with, so that it lives until the next block has its own;
    `scores`: and holds the scores before the mask beside those after it."""
    wide_scores: bool = False
    """A bias in fp32 is added to the scores, which are fp32 from there on (MPT's ALiBi)."""
    returns_states: bool = False
    """What leaves each block is collected until the last one is done (DeBERTa)."""
    embeds: Literal["all", "narrow", "apart"] = "all"
    """What the caller of the blocks holds meanwhile: the embeddings as they enter the first
    block, narrow ones that are widened inside (ALBERT), or those of tokens and of positions apart
    (BART)."""
    wide_routing: bool = False
    """Experts' outputs are weighted in fp32."""
    narrow_loss: bool = False
    """The loss reads logits as they are, without an upcast."""
    scaled_queries: bool = False
    scaled_residual: bool = False
    """What a sublayer gives is multiplied before it is added."""
    scaled_logits: bool = False
    inner_dropout: bool = False
    """Dropout between the two matrices of the MLP."""
    holds_inner: bool = False
    """What lies between the two matrices of the MLP lives until the norm after it (BERT)."""
    fused_read: Literal["apart", "views", "slices", "copies"] = "apart"
    """How queries, keys and values come from one product, where the library has one: as views
    with one gradient, as slices with a gradient each, as copies."""
    clamped_experts: bool = False
    """Experts gate by clamped products (gpt-oss)."""
    caches: bool = False
    """Keys and values go through a cache even in training (encoder-decoders)."""


class Experts(msgspec.Struct, frozen=True, kw_only=True):
    """The mixture of experts in the place of a block's MLP."""

    count: int
    """Routed experts in a layer."""
    active: int
    """Routed experts that a token passes through."""
    ffn: int
    """Width of one routed expert."""
    shared_ffn: int = 0
    """Width of the shared experts together; every token passes through them."""
    shared_gate: bool = False
    """The shared expert's output is scaled by a gate (hidden to 1)."""
    dense_layers: int = 0
    """Layers with an ordinary MLP instead; they are counted as the first ones."""
    router_bias: bool = False


class Latent(msgspec.Struct, frozen=True, kw_only=True):
    """Multi-head latent attention: low-rank queries, keys and values.

    Source: https://arxiv.org/abs/2405.04434, section 2.1
    """

    q_rank: int | None
    """Rank of the query compression; None: queries come straight from the hidden state."""
    kv_rank: int
    nope_dim: int
    """Dimensions of a head's key without position."""
    rope_dim: int
    """Dimensions of a head's key with rotary position, shared by all heads in the cache."""
    value_dim: int


class Linear(msgspec.Struct, frozen=True):
    """One kind of linear layer of the blocks: y = x W (+ b)."""

    name: str
    """Its role: q k v o, gate up down, cross_q .. cross_o, router, expert_gate/up/down,
    shared_gate/up/down, shared_scale; q_a q_b kv_a kv_b in latent attention, qkv and gate_up
    where they are stored as one matrix."""
    inputs: int
    outputs: int
    count: int
    """How many such matrices there are."""
    active: int
    """How many of them one token passes through."""
    bias: bool = False

    def parameters(self) -> int:
        """Parameters of all of them, biases too."""
        return self.count * self.outputs * (self.inputs + self.bias)

    def active_parameters(self) -> int:
        """Parameters of those that one token passes through."""
        return self.active * self.outputs * (self.inputs + self.bias)
