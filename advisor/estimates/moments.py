"""The moments at which memory may peak, each as a bill: loss, backward, optimizer step, ..."""

from collections.abc import Iterator
from typing import NamedTuple

from advisor.estimates import activations, sharding, states
from advisor.estimates.arithmetic import larger, smaller
from advisor.estimates.states import Part
from advisor.estimates.workload import Workload
from knowledge import constants

SAVED = "https://arxiv.org/abs/2205.05198"
LOSS = "https://github.com/huggingface/transformers/blob/main/src/transformers/loss/loss_utils.py"
DEQUANTISED = "https://github.com/bitsandbytes-foundation/bitsandbytes"
CACHE = "https://arxiv.org/abs/2211.05102"
WORKSPACE = 8.5 * 2**20
"""What cuBLAS keeps in the allocator. Source: CUBLAS_WORKSPACE_CONFIG, torch's CUDA notes."""


class Moment(NamedTuple):
    """A phase and what is alive in it."""

    phase: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> float:
        """Bytes in all."""
        return sum(part.size for part in self.parts)


def moments(w: Workload) -> Iterator[Moment]:
    """Every moment that may be the peak of the job."""
    for stage in sharding.stages(w):
        always = (*states.static(w, stage), Part("workspace", WORKSPACE, "of the matrix library"))
        if w.moment != "peak":
            grads = _held_gradients(w, stage) if w.trains and w.moment == "static" else ()
            yield Moment(w.moment, (*always, *grads, *_lingering(w)))
            continue
        for phase in w.method.phases:
            if phase == "training":
                yield from training(w, stage, always)
            elif phase == "generation":
                yield generation(w, always)
            elif phase == "scoring":
                yield scoring(w, always)


def training(w: Workload, stage: str, always: tuple[Part, ...]) -> Iterator[Moment]:
    """Loss, backward pass and optimizer step of one stage."""
    gathered = _gathered(w)
    kept = _kept(w, stage)
    held = _held_gradients(w, stage) if w.accumulates else ()
    formed = activations.formed(w)
    if formed:
        kept = (
            *kept,
            Part("update matrices", formed, "formed for each target and kept", sort="activation"),
        )
    if stage != "first":
        yield Moment("loss", (*always, *held, *gathered, *kept, *_logits(w), *_head_unpacked(w)))
    block = _one_block(w)
    yield Moment("backward", (*always, *held, *gathered, *kept, *block, *_unpacked(w)))
    if not w.accumulates:
        held = _held_gradients(w, stage)
        yield Moment("backward", (*always, *held, *gathered, *block, *_unpacked(w)))
    copied = states.trained(w, stage) / w.split.states
    if w.engine.step_elements is not None:
        copied = smaller(copied, w.engine.step_elements)
    copy = w.numbers.gradient * copied
    foreach = w.engine.optimizer_copy and w.numbers.foreach and not w.numbers.in_backward
    step = (Part("optimizer's working copy", copy, "one copy of what is updated"),)
    yield Moment("optimizer step", (*always, *held, *(step if foreach else ())))


def generation(w: Workload, always: tuple[Part, ...]) -> Moment:
    """Writing answers: the cache of prompt and answer, one block's work, a row of logits."""
    # A sequence that is learnt from counts its answer already.
    length = w.span if w.trains else w.span + w.new_tokens
    cache = w.sequences * w.arch.kv_bytes(int(length), w.kv_bits) / w.split.tensor
    cache = cache / w.split.pipeline / (w.split.weights if not w.trains else 1)
    parts = [Part("key-value cache", cache,
                  f"{w.sequences:g} x {length:g} tokens x "
                  f"{w.arch.kv_bytes_per_token(w.kv_bits):.0f} B",
                  CACHE, sort="cache")]  # fmt: skip
    if w.engine.cache == "grown" and w.new_tokens and cache:
        parts.append(
            Part(
                "growing the cache",
                2 * cache / w.layers,
                "a layer's copy while it grows",
                sort="cache",
            )
        )
    work = w.batch_tokens * activations.forward(w)
    logits_tokens = w.batch_tokens if w.engine.prefill_logits == "all" else w.sequences
    logits = logits_tokens * w.outputs * (w.numbers.compute + 4.0) / w.split.tensor
    parts.append(
        Part(
            "prefill", larger(work, logits), "one block's tensors, or the logits", sort="activation"
        )
    )
    return Moment("generation", (*always, *parts, *_unpacked(w)))


def scoring(w: Workload, always: tuple[Part, ...]) -> Moment:
    """Log-probabilities of given tokens, nothing kept for a backward pass."""
    logits = w.batch_tokens * w.outputs / w.split.tensor * (w.numbers.compute + 8.0)
    work = w.batch_tokens * activations.forward(w)
    part = Part(
        "scoring", larger(work, logits), "logits in 16 bits, in fp32 and their softmax", sort="loss"
    )
    return Moment("scoring", (*always, *_gathered(w), part, *_unpacked(w)))


def _gathered(w: Workload) -> tuple[Part, ...]:
    size = sharding.unsharded(w) + sharding.autocast_copies(w)
    if not size:
        return ()
    return (Part("gathered weights and gradients", size, "whole blocks while they compute",
                 "https://arxiv.org/abs/2304.11277", sort="gathered"),)  # fmt: skip


def _kept(w: Workload, stage: str) -> tuple[Part, ...]:
    """Activations kept from the forward to the backward pass."""
    flight = sharding.in_flight(w, stage)
    blocks = w.trained_blocks / w.split.pipeline
    if not blocks:
        return ()
    saved = activations.block(w).bytes_per_token(w)
    stored = activations.checkpoint(w)
    per, words = {
        "none": (saved, f"{saved:.0f} B a token and block"),
        "selective": (_selective(w, saved), "matrix products and attention kept, the rest anew"),
        "full": (stored, f"each block's input, {stored:.0f} B a token"),
        "full-offloaded": (0.0, "block inputs in host memory"),
    }[w.checkpointing]
    last = activations.last_norm(w) if stage != "first" else 0.0
    models = 1 + sum(extra.trained for extra in w.extras)
    size = models * flight * w.batch_tokens * (blocks * per + last)
    words += f"; {models} models" if models > 1 else ""
    return (Part("activations", size,
                 f"{w.batch_tokens:g} tokens x {blocks:g} blocks; {words}",
                 SAVED, sort="activation"),)  # fmt: skip


def _selective(w: Workload, saved: float) -> float:
    """Selective checkpointing: without the scores; the scores are what it drops first."""
    if activations.keeps_scores(w):
        return saved - activations.score_part(w)
    return 0.5 * saved


def _one_block(w: Workload) -> tuple[Part, ...]:
    """One block's backward pass: its gradients, and what is recomputed of it."""
    if not w.trained_blocks:
        work = w.batch_tokens * activations.forward(w)
        return (
            Part(
                "one block's forward pass",
                work,
                "nothing is kept, the blocks are frozen",
                sort="activation",
            ),
        )
    work = w.batch_tokens * activations.working(w)
    parts = [Part("one block's gradients", work, "of its inner tensors", SAVED, sort="activation")]
    if w.checkpointing in ("full", "full-offloaded"):
        again = w.batch_tokens * activations.block(w).bytes_per_token(w)
        parts.append(
            Part(
                "one block recomputed",
                again,
                "its activations, made anew",
                SAVED,
                sort="activation",
            )
        )
    return tuple(parts)


def _held_gradients(w: Workload, stage: str) -> tuple[Part, ...]:
    size = states.gradients(w, stage) + states.extra_gradients(w, stage)
    if not size:
        return ()
    return (Part("gradients", size, "of all that trains", states.ZERO),)


def _logits(w: Workload) -> tuple[Part, ...]:
    if not w.outputs:
        return ()
    elements = w.batch_tokens * w.outputs / w.split.tensor
    if not w.over_vocabulary:
        elements = w.sequences * w.outputs
    return (Part("logits and loss", elements * w.loss_bytes,
                 f"{w.batch_tokens:g} tokens x {w.outputs:g} x {w.loss_bytes:g} B",
                 LOSS, sort="loss"),)  # fmt: skip


def _lingering(w: Workload) -> tuple[Part, ...]:
    """Logits of the last step, held by the loop's variables until the next."""
    if w.moment != "static" or not w.trains or not w.over_vocabulary:
        return ()
    tokens = constants.find("lingering-tokens")
    size = w.sequences * w.outputs * w.numbers.compute / w.split.tensor
    return (
        Part("last step's logits", size * tokens.mid, "alive until the next step", sort="loss"),
    )


def _unpacked(w: Workload) -> tuple[Part, ...]:
    """Two 16-bit copies of the largest quantised matrix."""
    if w.numbers.quantisation is None or not w.engine.dequantises:
        return ()
    size = 4.0 * w.counts.largest_matrix / w.split.tensor
    return (Part("unpacked weights", size, "the largest quantised matrix in 16 bits, twice",
                 DEQUANTISED, sort="unpacked"),)  # fmt: skip


def _head_unpacked(w: Workload) -> tuple[Part, ...]:
    return _unpacked(w) if w.numbers.quantises_head else ()
