"""What the blocks keep for the backward pass, as a sum of what each part of a block saves.

Counted in bytes for one token; attention that keeps its scores adds bytes that grow with the
span. Which tensors are saved was read with `torch.autograd.graph.saved_tensors_hooks` on blocks
of transformers 5.23 (Llama, Qwen 3, Gemma 3, GPT-NeoX, OPT, BERT, Mixtral).

Shapes: h hidden, a heads, d head size, k key-value heads, f width of the MLP, s span.
"""

from typing import NamedTuple

from advisor.estimates import targets
from advisor.estimates.arithmetic import larger
from advisor.estimates.parameters import amount, target_sizes
from advisor.estimates.workload import Workload
from knowledge.architecture import Architecture

FP32 = 4.0
MASK = 1.0


class Saved(NamedTuple):
    """Bytes that one block keeps for one token, by what tensor parallelism does to them.

    `replicated` is there on every tensor-parallel rank unless the sequence is shared out;
    `divided` is split by heads or width.
    """

    replicated: float
    divided: float

    def bytes_per_token(self, w: Workload) -> float:
        """What one rank keeps for one token."""
        split = w.split
        shared = split.tensor if split.sequence_parallel else 1
        return self.replicated / shared + self.divided / split.tensor


def block(w: Workload) -> Saved:
    """What the largest block keeps.

    Source: see the module.
    """
    inputs = w.adapter is None and w.trains
    norm_weights = inputs or w.method.trains == "norms"
    replicated = _norms(w, trains=norm_weights) + _linear_inputs(w, trains=inputs) + _dropout(w)
    divided = _attention(w) + _scores(w) + _mlp(w, trains=inputs)
    extra_r, extra_d = _adapters(w)
    return Saved(replicated + extra_r, divided + extra_d)


def checkpoint(w: Workload) -> float:
    """The input of a block, all that full checkpointing keeps of it [bytes for one token]."""
    width = 4.0 if w.numbers.autocast else w.numbers.compute
    kept = width * w.arch.hidden
    return kept / (w.split.tensor if w.split.sequence_parallel else 1)


def last_norm(w: Workload) -> float:
    """What the norm before the head keeps, and the head's input if it trains [one token]."""
    c, trains = w.numbers.compute, w.adapter is None
    upcast = w.arch.norm == "rms" and not w.fused and c < FP32
    return w.arch.hidden * ((FP32 if upcast else c) + (c + c * upcast) * trains)


def working(w: Workload) -> float:
    """Gradients alive within one block's backward pass [bytes for one token].

    The gradients of the MLP's two inner products and of the residual stream, or of queries, keys
    and values with the scores', whichever is more.
    """
    arch, c = w.arch, w.numbers.compute
    mlp = c * (2 + arch.gated) * _mlp_width(arch)
    attention = c * (2 * arch.heads + 2 * arch.kv_heads) * arch.head_dim + _score_gradients(w)
    return 2 * c * arch.hidden + larger(mlp, attention) / w.split.tensor


def forward(w: Workload) -> float:
    """Live tensors of one block's forward pass, nothing kept [bytes for one token]."""
    arch, c = w.arch, w.numbers.compute
    mlp = c * (1 + arch.gated + 1) * _mlp_width(arch)
    attention = c * (2 * arch.heads + 2 * arch.kv_heads) * arch.head_dim + _score_forward(w)
    norm = (0.0 if w.fused or arch.norm != "rms" else FP32) * arch.hidden
    return c * 2 * arch.hidden + larger(mlp, attention + norm) / w.split.tensor


def _norms(w: Workload, *, trains: bool) -> float:
    arch, c = w.arch, w.numbers.compute
    upcast = arch.norm == "rms" and not w.fused
    own = (FP32 + (c if trains else 0.0)) if upcast and c < FP32 else c
    if upcast and c >= FP32:
        own = c + (c if trains else 0.0)
    count = arch.norms_per_block * arch.hidden
    heads = (arch.heads + arch.kv_heads) * arch.head_dim if arch.qk_norm != "none" else 0
    return own * (count + heads)


def _linear_inputs(w: Workload, *, trains: bool) -> float:
    """Outputs of norms, kept because a linear that trains reads them."""
    arch, c = w.arch, w.numbers.compute
    if not trains:
        return 0.0
    reads = 2 if not arch.parallel else 1
    if w.numbers.autocast:
        # fp32 outputs are cast anew for each linear that reads them.
        return c * arch.hidden * (3 + 1 + arch.gated)
    kept = c * reads * arch.hidden
    if arch.experts is not None:
        kept += c * arch.hidden * 2 * arch.experts.active
    return kept


def _attention(w: Workload) -> float:
    """Queries, keys, values, the output, and the log-sum of the scores."""
    arch, c = w.arch, w.numbers.compute
    if arch.latent is not None:
        m = arch.latent
        wide = arch.heads * (2 * (m.nope_dim + m.rope_dim) + 2 * m.value_dim)
        return c * (wide + (m.q_rank or 0) + 2 * m.kv_rank + m.rope_dim) + FP32 * arch.heads
    keys = arch.heads if w.engine.repeats_kv and arch.kv_heads < arch.heads else arch.kv_heads
    own = c * (2 * arch.heads + 2 * keys) * arch.head_dim + FP32 * arch.heads
    if w.engine.keeps_fused_qkv:
        own += c * (arch.heads + arch.kv_heads) * arch.head_dim
    cross = own if arch.kind == "encoder-decoder" else 0.0
    return own + cross / 2


def _scores(w: Workload) -> float:
    """The softmax in fp32 and in the compute format, and dropout's mask, where kept."""
    if not keeps_scores(w):
        return 0.0
    arch, c = w.arch, w.numbers.compute
    softmax = FP32 + c if c < FP32 else FP32
    mask = (MASK + c) if arch.attention_dropout else 0.0
    return arch.heads * w.span * (softmax + mask)


def score_part(w: Workload) -> float:
    """Attention scores that one rank keeps [bytes for one token]."""
    return _scores(w) / w.split.tensor


def keeps_scores(w: Workload) -> bool:
    """Whether attention forms its scores: unfused, or in a way that fused kernels refuse.

    They refuse a bias for each pair, and on a processor dropout.
    """
    dropped = w.on_cpu and w.trains and w.arch.attention_dropout > 0
    return w.attention == "eager" or w.arch.positions == "alibi" or dropped


def _score_gradients(w: Workload) -> float:
    if not keeps_scores(w):
        return 0.0
    return w.arch.heads * w.span * (2 * FP32 + w.numbers.compute)


def _score_forward(w: Workload) -> float:
    if not keeps_scores(w):
        return 0.0
    return w.arch.heads * w.span * (FP32 + w.numbers.compute)


def _mlp_width(arch: Architecture) -> float:
    """Width of the MLP that one token passes through."""
    if arch.experts is None:
        return arch.ffn
    return arch.experts.active * arch.experts.ffn + arch.experts.shared_ffn


def _mlp(w: Workload, *, trains: bool) -> float:
    """Gate, its activation and up (the products need them), and down's input if it trains.

    Fused kernels recompute the activation of the gate.
    """
    arch, c = w.arch, w.numbers.compute
    kept = (2 if w.fused else 3) if arch.gated else 1
    return c * (kept + trains) * _mlp_width(arch)


def _dropout(w: Workload) -> float:
    """Masks of dropout after attention and MLP; the kernel saves one byte for each number."""
    if not w.arch.dropout:
        return 0.0
    return MASK * 2 * w.arch.hidden


def _adapters(w: Workload) -> tuple[float, float]:
    """What an adapter adds: (replicated, divided by tensor parallelism)."""
    how = w.adapter
    if how is None:
        return 0.0, 0.0
    arch, c, copy = w.arch, w.numbers.compute, w.numbers.added
    sizes = {**w.sizes, "batch_tokens": 1.0, "sequences": 1.0 / w.tokens}
    own = copy * amount(how.saved_per_block, sizes)
    own += _quantised_inputs(w)
    shared: dict[str, float] = {}
    divided = 0.0
    for linear in targets.chosen(arch, w.targets) if w.targets else ():
        share = linear.active / (arch.layers + arch.decoder_layers)
        per = target_sizes(sizes, linear)
        if how.saves_target_input:
            if w.engine.adapter_dropout:
                own += share * (copy + MASK) * linear.inputs
            elif copy != c:
                own += share * copy * linear.inputs
            else:
                shared[_input(linear.name)] = share * copy * linear.inputs
        if how.saves_target_output:
            divided += share * c * linear.outputs
        tokens = {k: v for k, v in how.saved_per_target.items() if "batch_tokens" in k}
        own += share * copy * amount(tokens, per)
    shared.pop("attention", None)
    return own + sum(shared.values()), divided


def _quantised_inputs(w: Workload) -> float:
    """Inputs that the kernels of quantised linears keep, each tensor once."""
    per = w.engine.quantised_input_bytes
    if w.numbers.quantisation is None or not per:
        return 0.0
    reads = 1 if w.arch.parallel else 2
    return per * (reads * w.arch.hidden + _mlp_width(w.arch))


def _input(role: str) -> str:
    """Which tensor a linear reads; those that read the same one share its copy."""
    if role in ("q", "k", "v", "qkv", "q_a", "kv_a"):
        return "norm1"
    if role in ("gate", "up", "gate_up"):
        return "norm2"
    return {"o": "attention"}.get(role, role)


def formed(w: Workload) -> float:
    """Matrices that an adapter forms and keeps for every target, whatever the batch [bytes]."""
    how = w.adapter
    if how is None or not w.targets:
        return 0.0
    kept = {k: v for k, v in how.saved_per_target.items() if "batch_tokens" not in k}
    total = 0.0
    for linear in targets.chosen(w.arch, w.targets):
        total += linear.count * amount(kept, target_sizes(w.sizes, linear))
    return w.numbers.added * total
