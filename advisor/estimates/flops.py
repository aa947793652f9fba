"""Floating-point operations of one token, forward and backward."""

from advisor.estimates import parameters, targets
from advisor.estimates.workload import Workload
from knowledge.architecture import Architecture


def forward(arch: Architecture, span: float, outputs: float) -> float:
    """Operations of one token's forward pass [FLOP].

    Two for each parameter of a linear that the token passes through, four for each pair of a
    head's dimension and a position attended to (half of the span when attention is causal).

    Source: https://arxiv.org/abs/2001.08361, section 2.1; https://arxiv.org/abs/2204.02311, app. B
    Off by: norms, activations and rotary embedding, under 1 % above 1e8 parameters.
    """
    return blocks(arch, span) + 2 * arch.embedding_width() * outputs


def blocks(arch: Architecture, span: float) -> float:
    """Operations of one token in the blocks alone [FLOP]."""
    active = sum(2.0 * x.active * x.inputs * x.outputs for x in arch.linear_shapes())
    if arch.kind == "encoder-decoder":
        active = active / 2  # a token passes through one of the two stacks
    causal = 2 if arch.kind == "decoder" else 1
    layers = arch.layers
    windowed = min(arch.windowed_layers, layers) if arch.window else 0
    reached = (layers - windowed) * span / causal + windowed * min(
        span / causal, arch.window or span
    )
    return active + 4 * arch.heads * arch.head_dim * reached


def attention(arch: Architecture, span: float) -> float:
    """Operations of one token on pairs of positions [FLOP]."""
    return blocks(arch, span) - blocks(arch, 0.0)


def attention_share(w: Workload) -> float:
    """Share of a training step's operations that attention takes."""
    inside = blocks(w.arch, w.span)
    head = 2.0 * w.arch.embedding_width() * w.outputs if w.over_vocabulary else 0.0
    return attention(w.arch, w.span) / (inside + head)


def training(w: Workload) -> float:
    """Operations of one token in a training step [FLOP].

    Full training: forward once, backward twice that. A frozen base needs only the gradients of
    its inputs, once. Recomputing the blocks adds their forward pass.
    """
    arch = w.arch
    inside = blocks(arch, w.span)
    head = 2.0 * arch.embedding_width() * w.outputs if w.over_vocabulary else 0.0
    share = w.trained_blocks / w.layers
    if w.adapter is not None:
        backward = inside + head + 2 * adapter(w)
        ahead = inside + head + adapter(w)
    else:
        backward = 2 * (inside * share + head)
        ahead = inside + head
    again = {"none": 0.0, "selective": 0.1}.get(w.checkpointing, 1.0) * inside * share
    scored = sum(inside + head for _ in w.extras if not _.trained)
    values = sum(3 * inside for extra in w.extras if extra.trained)
    return ahead + backward + again + scored + values


def adapter(w: Workload) -> float:
    """Operations of one token's forward pass through what the method adds [FLOP]."""
    if w.adapter is None:
        return 0.0
    total = 0.0
    for linear in targets.chosen(w.arch, w.targets) if w.targets else ():
        sizes = parameters.target_sizes(w.sizes, linear)
        total += 2 * linear.active * parameters.amount(w.adapter.added.per_target, sizes)
    return total + 2 * w.layers * parameters.amount(w.adapter.added.per_block, w.sizes)
