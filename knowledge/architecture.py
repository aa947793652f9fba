"""The shape of one transformer, and the arithmetic that follows from the shape alone.

Nothing here knows a model's family or name: `knowledge.families` reads a `config.json` into an
`Architecture`, estimators read the fields.

What is counted: a decoder and an encoder-decoder with their language-model head (a tied head
once), an encoder bare, with the pooler its base class has. Buffers are not parameters.
"""

from itertools import pairwise
from typing import Literal

import msgspec

from knowledge.parts import Code, Experts, Latent, Linear

__all__ = ["Architecture", "Code", "Experts", "Kind", "Latent", "Linear"]

Kind = Literal["decoder", "encoder", "encoder-decoder"]
Norm = Literal["rms", "layer", "plain"]
Positions = Literal["rotary", "learned", "relative", "disentangled", "alibi", "none"]
QkNorm = Literal["none", "shared", "per-head"]


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of one transformer. Widths and counts are numbers of units, context is tokens."""

    kind: Kind
    layers: int
    """Blocks; of an encoder-decoder the encoder's."""
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    """Width of the (dense) MLP."""
    vocab: int
    context: int | None = None
    """Longest sequence the positions are made for; None: no limit of their own."""
    decoder_layers: int = 0
    """Blocks of an encoder-decoder's decoder; each has cross attention."""

    # Embeddings and head
    embedding_size: int = 0
    """Width of the token embedding; 0: hidden. Where it differs a projection follows."""
    embedding_bias: bool = False
    """The projection from embedding_size to hidden has a bias."""
    embedding_norm: bool = False
    positions: Positions = "rotary"
    position_parameters: int = 0
    """Parameters of learned, relative or disentangled position tables, all stacks together."""
    relative_rows: int = 0
    """Rows of a table of relative positions that queries and keys are compared with."""
    rotary_dim: int = 0
    """Dimensions of a head that are rotated; 0: none."""
    token_types: int = 0
    tied: bool = False
    """The head is the token embedding."""
    head_bias: bool = False
    pooler: bool = False

    # Norms
    norm: Norm = "rms"
    norm_bias: bool = False
    norms_per_block: int = 2
    """Norms over hidden in an encoder's or decoder's block; cross attention adds one."""
    post_norm: bool = False
    """The norm comes after the residual sum (BERT), not before the sublayer."""
    first_norm: bool = True
    """False: the first block has one norm less (the embedding norm stands for it)."""
    final_norm: bool = True
    qk_norm: QkNorm = "none"
    """Norm on queries and keys: weights shared by the heads, or of each head its own."""
    qk_norm_bias: bool = False

    # Attention and MLP
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    gated: bool = True
    activation: str = "silu"
    parallel: bool = False
    """Attention and MLP read the same input and are summed (GPT-J, Falcon)."""
    fused_qkv: bool = False
    """The library stores q, k and v as one matrix."""
    fused_gate_up: bool = False
    sinks: bool = False
    """Each head has a learned attention sink."""
    window: int | None = None
    """Sliding window of the windowed layers [tokens]; for ModernBERT both sides together."""
    windowed_layers: int = 0
    attention_softcap: bool = False
    logits_softcap: bool = False
    dropout: float = 0.0
    """Probability of dropout after embeddings and sublayers in training, from the config."""
    attention_dropout: float = 0.0
    experts: Experts | None = None
    latent: Latent | None = None
    code: Code = Code()
    shared_groups: int = 0
    """ALBERT: how many different blocks there are; 0: each layer has its own."""

    # --- counts of parameters -------------------------------------------------------------

    def parameters(self) -> int:
        """Parameters of the whole model, a tied head once.

        Source: the definition in transformers' modelling code; tests/knowledge/test_models.py
            compares it with published counts and with the real classes.
        """
        return self.embedding_parameters() + self.head_parameters() + self._body_parameters()

    def active_parameters(self) -> int:
        """Parameters that one token passes through: all but the experts it is not sent to."""
        idle = sum(x.parameters() - x.active_parameters() for x in self.linear_shapes())
        return self.parameters() - idle

    def masked_lm_parameters(self) -> int:
        """Parameters of an encoder with its masked-language-model head (tied) and no pooler.

        Source: BertForMaskedLM and its like in transformers: dense, norm, bias of the vocabulary.
        """
        width = self.embedding_width()
        dense = self.hidden * width + (width if self.o_bias else 0)
        bare = self.parameters() - self.pooler_parameters()
        return bare + dense + self.norm_parameters(width) + self.vocab

    def embedding_parameters(self) -> int:
        """Parameters before the first block: tokens, positions, types, projection, norm."""
        width = self.embedding_width()
        rows = self.vocab + self.token_types
        norm = self.norm_parameters(width) * self._stacks() if self.embedding_norm else 0
        return rows * width + self.position_parameters + self._projection(out=False) + norm

    def head_parameters(self) -> int:
        """Parameters of the language-model head beyond the embedding; of an encoder the pooler."""
        if self.kind == "encoder":
            return self.pooler_parameters()
        own = 0 if self.tied else self.vocab * self.embedding_width()
        return own + (self.vocab if self.head_bias else 0) + self._projection(out=True)

    def pooler_parameters(self) -> int:
        """Parameters of the pooler: a square layer with bias."""
        return self.hidden * (self.hidden + 1) if self.pooler else 0

    def block_parameters(self, layer: int) -> int:
        """Parameters of one block; an encoder-decoder's decoder blocks follow the encoder's.

        Raises:
            IndexError: there is no such layer.
        """
        linears = sum(x.parameters() for x in self.block_linears(layer))
        norms = self.norms_per_block + self._is_cross(layer) - (layer == 0 and not self.first_norm)
        return linears + norms * self.norm_parameters(self.hidden) + self._attention_vectors()

    def norm_parameters(self, width: int) -> int:
        """Parameters of one norm over a width; a plain layer norm has none."""
        return 0 if self.norm == "plain" else width * (1 + self.norm_bias)

    # --- the linear layers ----------------------------------------------------------------

    def linear_shapes(self, *, stored: bool = False) -> tuple[Linear, ...]:
        """The linear layers of all blocks, one entry for each role and shape.

        Args:
            stored: q, k, v and gate, up merged where the library stores them as one matrix.
        Returns:
            Counts over the whole model; neither embeddings nor head (see `head_shape`).
        """
        merged: dict[tuple[str, int, int, bool], tuple[int, int]] = {}
        for first, repeats in self.block_groups():
            for x in self.block_linears(first, stored=stored):
                key = (x.name, x.inputs, x.outputs, x.bias)
                count, active = merged.get(key, (0, 0))
                merged[key] = (count + repeats * x.count, active + repeats * x.active)
        return tuple(
            Linear(name, inputs, outputs, count, active, bias)
            for (name, inputs, outputs, bias), (count, active) in merged.items()
        )

    def head_shape(self) -> tuple[int, int]:
        """Width in and out of the vocabulary head (an encoder's is its masked-LM head)."""
        return self.embedding_width(), self.vocab

    def block_groups(self) -> tuple[tuple[int, int], ...]:
        """The kinds of blocks: (index of the first of the kind, how many different ones).

        Encoder blocks then decoder blocks; dense layers before layers with experts; a first
        block that lacks a norm alone.
        """
        own = self.shared_groups or self.layers
        dense = min(self.experts.dense_layers, own) if self.experts else 0
        first = set() if self.first_norm else {1}
        cuts = sorted({0, dense, own} | first)
        groups = [(start, end - start) for start, end in pairwise(cuts)]
        if self.decoder_layers:
            groups.append((self.layers, self.decoder_layers))
        return tuple(groups)

    def block_linears(self, layer: int, *, stored: bool = False) -> tuple[Linear, ...]:
        """The linear layers of one block, by role.

        Raises:
            IndexError: there is no such layer.
        """
        if not 0 <= layer < self.layers + self.decoder_layers:
            raise IndexError(f"no layer {layer} of {self.layers + self.decoder_layers}")
        attention = self._latent_linears() if self.latent else self._attention_linears("", stored)
        cross = self._attention_linears("cross_", stored=False) if self._is_cross(layer) else ()
        sparse = self.experts is not None and layer >= self.experts.dense_layers
        mlp = self._expert_linears(stored) if sparse else self._mlp("", self.ffn, stored=stored)
        return attention + cross + mlp

    def _attention_linears(self, prefix: str, stored: bool) -> tuple[Linear, ...]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        out = Linear(f"{prefix}o", queries, self.hidden, 1, 1, self.o_bias)
        if stored and self.fused_qkv:
            return (Linear("qkv", self.hidden, queries + 2 * keys, 1, 1, self.qkv_bias), out)
        return (
            Linear(f"{prefix}q", self.hidden, queries, 1, 1, self.qkv_bias),
            Linear(f"{prefix}k", self.hidden, keys, 1, 1, self.qkv_bias),
            Linear(f"{prefix}v", self.hidden, keys, 1, 1, self.qkv_bias),
            out,
        )

    def _latent_linears(self) -> tuple[Linear, ...]:
        assert self.latent is not None
        m, h = self.latent, self.hidden
        queries = self.heads * (m.nope_dim + m.rope_dim)
        q = (
            (Linear("q", h, queries, 1, 1),)
            if m.q_rank is None
            else (
                Linear("q_a", h, m.q_rank, 1, 1, self.qkv_bias),
                Linear("q_b", m.q_rank, queries, 1, 1),
            )
        )
        return (
            *q,
            Linear("kv_a", h, m.kv_rank + m.rope_dim, 1, 1, self.qkv_bias),
            Linear("kv_b", m.kv_rank, self.heads * (m.nope_dim + m.value_dim), 1, 1),
            Linear("o", self.heads * m.value_dim, h, 1, 1, self.o_bias),
        )

    def _mlp(
        self, prefix: str, width: int, count: int = 1, active: int = 1, *, stored: bool
    ) -> tuple[Linear, ...]:
        h, bias = self.hidden, self.mlp_bias
        down = Linear(f"{prefix}down", width, h, count, active, bias)
        if self.gated and stored and self.fused_gate_up:
            return (Linear(f"{prefix}gate_up", h, 2 * width, count, active, bias), down)
        up = Linear(f"{prefix}up", h, width, count, active, bias)
        gate = (Linear(f"{prefix}gate", h, width, count, active, bias),) if self.gated else ()
        return (*gate, up, down)

    def _expert_linears(self, stored: bool) -> tuple[Linear, ...]:
        assert self.experts is not None
        e, h = self.experts, self.hidden
        router = (Linear("router", h, e.count, 1, 1, e.router_bias),)
        routed = self._mlp("expert_", e.ffn, e.count, e.active, stored=stored)
        shared = self._mlp("shared_", e.shared_ffn, stored=stored) if e.shared_ffn else ()
        scale = (Linear("shared_scale", h, 1, 1, 1),) if e.shared_gate else ()
        return router + routed + shared + scale

    # --- the cache ------------------------------------------------------------------------

    def kv_bytes_per_token(self, bits: float = 16) -> float:
        """Cache that one more token takes while every layer still keeps it [bytes].

        An encoder keeps none; an encoder-decoder's figure is for one token of the answer.
        Off by: an upper bound beyond a sliding window; see `kv_bytes`.
        """
        return self._cache_layers() * self._kv_width() * bits / 8

    def kv_bytes(self, tokens: int, bits: float = 16) -> float:
        """Cache of one sequence, windowed layers keeping no more than their window [bytes].

        Source: https://arxiv.org/abs/2211.05102, section 3; latent attention:
            https://arxiv.org/abs/2405.04434, section 2.1.3
        """
        windowed = min(self.windowed_layers, self._cache_layers()) if self.window else 0
        kept = min(tokens, self.window or tokens)
        full = self._cache_layers() - windowed
        return (full * tokens + windowed * kept) * self._kv_width() * bits / 8

    def _cache_layers(self) -> int:
        if self.kind == "encoder":
            return 0
        return self.layers if self.kind == "decoder" else self.decoder_layers

    def _kv_width(self) -> int:
        """Numbers that one layer keeps of one token."""
        if self.latent:
            return self.latent.kv_rank + self.latent.rope_dim
        return 2 * self.kv_heads * self.head_dim

    # --- small parts ----------------------------------------------------------------------

    def embedding_width(self) -> int:
        """Width of the token embedding and of the head's input."""
        return self.embedding_size or self.hidden

    def _projection(self, *, out: bool) -> int:
        """Parameters between embedding and hidden, where their widths differ."""
        width = self.embedding_width()
        if width == self.hidden:
            return 0
        return width * self.hidden + (self.hidden if self.embedding_bias and not out else 0)

    def _stacks(self) -> int:
        return 2 if self.kind == "encoder-decoder" else 1

    def _is_cross(self, layer: int) -> bool:
        return layer >= self.layers

    def _body_parameters(self) -> int:
        blocks = sum(count * self.block_parameters(i) for i, count in self.block_groups())
        finals = self._stacks() if self.final_norm else 0
        return blocks + finals * self.norm_parameters(self.hidden)

    def _attention_vectors(self) -> int:
        """Parameters of a block's attention that are not in its linear layers."""
        total = self.heads if self.sinks else 0
        if self.latent:
            total += (self.latent.q_rank or 0) + self.latent.kv_rank
        heads = {"none": 0, "shared": 2, "per-head": self.heads + self.kv_heads}[self.qk_norm]
        return total + heads * self.head_dim * (1 + self.qk_norm_bias)
