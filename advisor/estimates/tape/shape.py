"""What decides which tensors a pass makes, sizes apart."""

from typing import NamedTuple

from advisor.estimates.tape.changes import Change
from knowledge.parts import Code


class Shape(NamedTuple):
    """Everything about a model and a job that decides which tensors there are, sizes apart."""

    code: Code
    kind: str
    norm: str
    order: str
    gated: bool
    activation: str
    """Its name where it keeps something else than its input, else ""."""
    fused_gate_up: bool
    qk_norm: bool
    rotary: bool
    grouped: bool
    latent: bool
    ranked_queries: bool
    experts: bool
    shared_experts: bool
    shared_gate: bool
    qkv_bias: bool
    """A bias that trains, likewise below."""
    o_bias: bool
    mlp_bias: bool
    dropout: bool
    attention_dropout: bool
    noise: bool
    """Dropout multiplies by noise as wide as its numbers, as a processor has it."""
    softcap: bool
    logits_softcap: bool
    tied: bool
    learned_positions: bool
    embedding_norm: bool
    final_norm: bool
    weight: float
    compute: float
    caches_casts: bool
    """Autocast keeps the weights it cast; sharded weights are gathered anew in few bits."""
    base: bool
    """The base's weights train, likewise its norms."""
    norms: bool
    change: Change | None
    eager: bool
    spelt_out: bool
    """The fused call has no kernel and is plain mathematics, in fp32."""
    fused_norm: bool
    fused_mlp: bool
    repeats_kv: bool
    keeps_fused_qkv: bool
    quantised_input: float
    checkpointing: str
    reads_grad: bool
    """The embeddings' output needs a gradient, though the embedding may be frozen."""
    trained_embedding: bool
    loss_bytes: float
    loss: str
    """Cross entropy over the vocabulary (entropy), log-probabilities of given tokens (chosen), or
    both (preferred)."""
    tiles: str
    """Log-probabilities in tiles, without logits: by a kernel, by torch, or not at all ("")."""
    upcasts_logits: bool
    answers_only: bool
    """Logits are formed for the answers' tokens alone."""
    head: str
    accumulates: bool
