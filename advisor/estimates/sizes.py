"""From a settled job to what the passes read: which tensors there are, and how large each is."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

from msgspec import structs

from advisor.estimates import targets
from advisor.estimates.arithmetic import first, smaller
from advisor.estimates.parameters import amount, target_sizes
from advisor.estimates.tape import layers
from advisor.estimates.tape.blocks import MERGED
from advisor.estimates.tape.changes import Change
from advisor.estimates.tape.compared import Peak
from advisor.estimates.tape.passes import Stack
from advisor.estimates.tape.shape import Shape
from advisor.estimates.tape.tensors import GRADIENTS
from advisor.estimates.workload import Workload
from knowledge.methods import Method

Values = dict[str, float]
LOSSES = {
    "vocabulary": "entropy",
    "chosen-token": "chosen",
    "preferred": "preferred",
    "classes": "entropy",
}


def shape(w: Workload) -> Shape:
    """What decides which tensors a pass makes."""
    arch, n, engine = w.arch, w.numbers, w.engine
    base = w.trains and w.adapter is None and w.method.trains != "norms"
    code = structs.replace(arch.code, **engine.code)
    everything = base and w.trained_blocks >= w.layers
    weight = n.compute if n.quantisation else n.weight
    biases = base or (w.adapter is not None and w.adapter.new_blocks)
    return Shape(
        code=code, kind=arch.kind, norm=arch.norm, order=_order(w),
        gated=arch.gated,
        activation=_activation(w),
        fused_gate_up=arch.fused_gate_up, qk_norm=arch.qk_norm != "none",
        rotary=arch.positions == "rotary", grouped=arch.kv_heads < arch.heads,
        latent=arch.latent is not None,
        ranked_queries=arch.latent is not None and arch.latent.q_rank is not None,
        experts=arch.experts is not None,
        shared_experts=arch.experts is not None and arch.experts.shared_ffn > 0,
        shared_gate=arch.experts is not None and arch.experts.shared_gate,
        qkv_bias=arch.qkv_bias and biases, o_bias=arch.o_bias and biases,
        mlp_bias=arch.mlp_bias and biases,
        dropout=arch.dropout > 0, attention_dropout=arch.attention_dropout > 0,
        noise=w.on_cpu,
        softcap=arch.attention_softcap, logits_softcap=arch.logits_softcap,
        tied=arch.tied and engine.shares_tied_head,
        learned_positions=arch.positions == "learned", embedding_norm=arch.embedding_norm,
        final_norm=arch.final_norm,
        weight=weight, compute=n.compute,
        caches_casts=first(w.split.weights) == 1 or weight <= n.compute,
        base=base, norms=base or w.method.trains == "norms", change=_change(w),
        eager=w.attention == "eager", spelt_out=_spelt_out(w),
        fused_norm=w.fused, fused_mlp=w.fused,
        repeats_kv=engine.repeats_kv, keeps_fused_qkv=engine.keeps_fused_qkv,
        quantised_input=engine.quantised_input_bytes if n.quantisation else 0.0,
        checkpointing=w.checkpointing,
        reads_grad=everything or _from_start(w),
        trained_embedding=everything,
        loss_bytes=w.loss_bytes,
        loss=LOSSES[w.method.logits], tiles=w.tiles,
        upcasts_logits=n.autocast and w.method.logits != "vocabulary",
        answers_only=w.method.group,
        head="vocabulary" if w.over_vocabulary else "classes" if w.outputs else "none",
        accumulates=w.accumulates,
    )  # fmt: skip


def _spelt_out(w: Workload) -> bool:
    """Whether attention is plain mathematics: no kernel of a processor drops out.

    Source: use_flash_attention_cpp in aten/src/ATen/native/transformers/sdp_utils_cpp.cpp.
    """
    return w.on_cpu and w.trains and w.arch.attention_dropout > 0


def _activation(w: Workload) -> str:
    own = not w.engine.fused_activation and w.arch.activation in layers.ACTIVATIONS
    return w.arch.activation if own else ""


def _from_start(w: Workload) -> bool:
    """Whether a gradient is wanted before the first block, though the embedding is frozen."""
    if not _frozen(w):
        return False
    how = w.adapter
    if how is not None and how.new_blocks:
        return False
    added = how is not None and (how.added_sequence or how.acts in ("rows", ""))
    return added or w.checkpointing in ("full", "full-offloaded")


def _frozen(w: Workload) -> bool:
    """Whether what trains is spread over blocks that are otherwise frozen."""
    return w.trains and (w.adapter is not None or w.method.trains == "norms")


def _order(w: Workload) -> str:
    arch = w.arch
    if arch.parallel:
        return "parallel" if arch.norms_per_block == 1 else "parallel-two"
    if arch.norms_per_block == 4:
        return "sandwich"
    if arch.post_norm:
        return "after" if arch.norm == "rms" else "post"
    return "pre"


def _change(w: Workload) -> Change | None:
    if w.adapter is None:
        return None
    roles = (
        frozenset(x.name for x in targets.chosen(w.arch, w.targets)) if w.targets else frozenset()
    )
    how = w.adapter
    tokens = ["batch_tokens" in term for term in how.saved_per_target]
    return Change(
        how.acts, roles, w.numbers.added,
        w.numbers.compute if w.numbers.autocast else w.numbers.added, w.adapter_dropout,
        how.saves_target_input, how.saves_plain_input, how.saves_target_output, how.saves_change,
        by_token=any(tokens), by_target=not all(tokens),
    )  # fmt: skip


def stacks(w: Workload) -> tuple[tuple[Stack, ...], Values]:
    """The stacks of equal blocks, and how many blocks each has beyond the one that is walked."""
    arch = w.arch
    found: list[tuple[Stack, float]] = []
    dense = min(arch.experts.dense_layers, arch.layers) if arch.experts else 0
    sparse = arch.experts is not None
    masked = (
        min(arch.windowed_layers, arch.layers)
        if arch.window and first(w.span) >= arch.window
        else 0
    )
    full = arch.layers - dense - masked
    parts: list[tuple[Stack, float]] = [
        (Stack("dense", True), dense),
        (Stack("windowed", True, sparse, masked=True), masked),
        (Stack("encoder" if arch.decoder_layers else "block", True, sparse), full),
        (Stack("decoder", True, sparse, decoder=True), arch.decoder_layers),
    ]
    new = w.sizes["new_layers"] if w.adapter is not None and w.adapter.new_blocks else 0.0
    frozen = max(0.0, w.layers - w.trained_blocks) if w.adapter is None else 0.0
    if new:
        # A group of old blocks, a new one, the other groups, and the last of them ends in new ones.
        frozen = arch.layers / new
        added = Stack("first-new", True, sparse, new=True)
        parts = [(Stack("old", True, sparse), frozen), (added, 1.0),
                 (Stack("block", True, sparse), arch.layers - frozen),
                 (added._replace(name="new"), new - 1)]  # fmt: skip
    for stack, many in parts:
        still = min(frozen, many)
        frozen -= still
        if still:
            found.append((stack._replace(name=f"frozen-{stack.name}", trains=False), still))
        if many > still:
            found.append((stack, many - still))
    if _frozen(w) and not _from_start(w) and not new:
        # No gradient comes to what enters the first block, of a decoder beside an encoder too.
        pair = [x for x, _ in found if x.decoder][:1] if arch.kind == "encoder-decoder" else []
        for begin in (found[0][0], *pair):
            at = next(i for i, (x, _) in enumerate(found) if x == begin)
            head, count = found[at]
            one = head._replace(name=f"first-{head.name}")
            found[at : at + 1] = [(one, 1.0), (head, count - 1)] if count > 1 else [(one, 1.0)]
    return tuple(s for s, _ in found), {s.name: n - 1 for s, n in found}


def values(w: Workload) -> Values:
    """The size that each symbol stands for, on one GPU."""
    arch, t = w.arch, w.split.tensor
    heads = arch.heads * arch.head_dim
    keys = arch.kv_heads * arch.head_dim
    named: Values = {
        "T": w.batch_tokens, "S": w.span, "M": w.span * w.span, "B": w.sequences, "one": 1.0,
        "Z": w.logit_tokens, "R": w.logit_tokens / w.sequences, "D": arch.relative_rows,
        "h": arch.hidden, "q": heads / t, "k": keys / t, "n": (heads + 2 * keys) / t,
        "a": arch.heads / t, "f": arch.ffn / t, "g": 2 * arch.ffn / t, "V": arch.vocab / t,
        "d": arch.embedding_width(), "P": arch.position_parameters, "C": w.outputs,
        "r": w.sizes.get("rank", 0.0), "b": w.sizes.get("width", 0.0), "o": heads / t,
    }  # fmt: skip
    if w.tiles:
        tokens = w.batch_tokens if w.tiles == "torch" else w.logit_tokens
        rows = smaller(tokens, w.engine.tile_tokens)
        named["W"] = rows * w.engine.tile_words
        named["w"] = rows * min(w.engine.tile_words, arch.vocab)
    named["j"] = (keys + (heads - keys) * smaller(w.sequences - 1.0, 1.0)) / t
    if arch.latent is not None:
        m = arch.latent
        named |= {
            "q": arch.heads * (m.nope_dim + m.rope_dim) / t, "qn": arch.heads * m.nope_dim / t,
            "qr": arch.heads * m.rope_dim / t, "u": m.q_rank or 0, "c": m.kv_rank + m.rope_dim,
            "cn": m.kv_rank, "cr": m.rope_dim, "o": arch.heads * m.value_dim / t,
            "w": arch.heads * (m.nope_dim + m.value_dim) / t,
        }  # fmt: skip
    if arch.experts is not None:
        e = arch.experts
        named |= {
            "E": w.batch_tokens * e.active, "e": e.ffn / t, "e2": 2 * e.ffn / t, "l": e.count,
            "x": e.shared_ffn / t,
        }  # fmt: skip
    named["v"] = w.sizes.get("tokens", 0.0)
    if w.adapter is not None and w.targets:
        named |= _of_targets(w, w.adapter)
    if w.split.sequence_parallel:
        named["T*h"] = w.batch_tokens * arch.hidden / t
    return named


def _of_targets(w: Workload, how: Method) -> Values:
    """What a method keeps for each target: for each token, and whatever the batch."""
    named: Values = {}
    terms = how.saved_per_target
    by_token = {k: v for k, v in terms.items() if "batch_tokens" in k}
    by_target = {k: v for k, v in terms.items() if "batch_tokens" not in k}
    for x in targets.chosen(w.arch, w.targets):
        own = target_sizes({**w.sizes, "batch_tokens": 1.0}, x)
        named[f"t:{x.name}"] = amount(by_token, own)
        named[f"K:{x.name}"] = amount(by_target, own)
        named[f"A:{x.name}"] = amount(how.added.per_target, own)
    for merged, parts in MERGED.items():
        for sort in "tKA":
            found = [named[f"{sort}:{part}"] for part in parts if f"{sort}:{part}" in named]
            if found:
                named[f"{sort}:{merged}"] = sum(found)
    return named


def sized(symbol: str, named: Mapping[str, float]) -> float:
    """The size that a product of names stands for."""
    if symbol in named:
        return named[symbol]
    return prod(named[name] for name in symbol.split("*"))


class Sizing:
    """The sizes of one job, with which moments are weighed."""

    def __init__(self, named: Values, kept: Values, trained: Values, without: str = "") -> None:
        """
        Args:
            kept, trained: for each stack, how many more blocks' activations and gradients there
                are than those of the block that was walked.
            without: the others keep nothing that grows with this name.
        """
        self.named, self.kept, self.trained, self.without = named, kept, trained, without
        self._others: dict[tuple[str, int], tuple[float, float]] = {}

    def of(self, symbol: str) -> float:
        """The size that a symbol stands for."""
        if symbol not in self.named:
            self.named[symbol] = sized(symbol, self.named)
        return self.named[symbol]

    def totals(self, peaks: Sequence[Peak]) -> Iterator[tuple[float, float]]:
        """Each moment's bytes: gradients of parameters in the format they are computed in, and
        all else before them."""
        named = self.named
        live: Mapping[tuple[str, str], float] = {}
        alive = passed = 0.0
        for peak in peaks:
            if peak.live is not live:  # moments before and after others' share what is alive
                live = peak.live
                alive = passed = 0.0
                for (line, symbol), per in live.items():
                    size = per * (named[symbol] if symbol in named else self.of(symbol))
                    if line == GRADIENTS:
                        passed += size
                    else:
                        alive += size
            rest, grads = alive, passed
            for name, others in peak.others.items():
                one, other = self._whole(name, others)
                rest += one
                grads += other
            yield rest, grads

    def _whole(self, name: str, others: Mapping[tuple[str, str], float]) -> tuple[float, float]:
        key = (name, id(others))
        if key not in self._others:
            rest = grads = 0.0
            for line, size in self._of_others(name, others):
                if line == GRADIENTS:
                    grads += size
                else:
                    rest += size
            self._others[key] = (rest, grads)
        return self._others[key]

    def lines(self, peak: Peak) -> dict[str, float]:
        """A moment's bytes, line by line."""
        lines: dict[str, float] = {}
        for (line, symbol), per in peak.live.items():
            if per:
                lines[line] = lines.get(line, 0.0) + per * self.of(symbol)
        for name, others in peak.others.items():
            for line, size in self._of_others(name, others):
                lines[line] = lines.get(line, 0.0) + size
        return lines

    def _of_others(
        self, name: str, others: Mapping[tuple[str, str], float]
    ) -> Iterator[tuple[str, float]]:
        for (line, symbol), per in others.items():
            if self.without not in symbol.split("*"):
                count = self.trained[name] if line == GRADIENTS else self.kept[name]
                yield line, count * per * self.of(symbol)
