"""What is left of each kind of parameter on one GPU, and what sharding unpacks for a while."""

from typing import NamedTuple

from advisor.estimates.arithmetic import first
from advisor.estimates.workload import Workload


class Held(NamedTuple):
    """Parameters on one GPU of a pipeline stage, before data-parallel sharding."""

    linears: float
    embedding: float
    head: float
    rest: float

    @property
    def total(self) -> float:
        return self.linears + self.embedding + self.head + self.rest


def held(w: Workload, stage: str) -> Held:
    """The model's own parameters that one GPU computes with.

    Args:
        stage: "only" without a pipeline; "first" holds the embedding, "last" the head.
    """
    c, s = w.counts, w.split
    dense = (c.linears - c.experts) / (s.tensor * s.pipeline)
    experts = c.experts / (s.tensor * s.pipeline * s.expert)
    embedding = c.embedding / s.tensor
    head = c.head / s.tensor
    if stage == "last":
        # A tied head needs the embedding again on the last stage.
        head = head if c.head > c.embedding / 2 else embedding
        embedding = 0.0
    if stage == "first":
        head = 0.0
    return Held(dense + experts, embedding, head, c.rest / s.pipeline)


def stages(w: Workload) -> tuple[str, ...]:
    """The stages whose memory may be the largest."""
    return ("only",) if w.split.pipeline == 1 else ("first", "last")


def in_flight(w: Workload, stage: str) -> float:
    """Micro-batches whose activations a stage holds (one forward, one backward in turn).

    Source: https://arxiv.org/abs/2205.05198, section 4.2.3: interleaved stages hold more.
    """
    if stage != "first":
        return 1.0
    chunks = w.engine.pipeline_chunks
    more = (w.split.pipeline - 1) / chunks if chunks is not None else 0.0
    return float(w.split.pipeline) + more


def unsharded(w: Workload) -> float:
    """Gathered weights and whole gradients alive at once under full sharding [bytes].

    Two blocks (the one that computes and the next), embedding and head, and one block's
    gradients before they are reduced; or the engine's limit on gathered parameters.

    Source: https://arxiv.org/abs/2304.11277, section 3; https://www.deepspeed.ai/docs/config-json/
    """
    if first(w.split.weights) <= 1 or not w.trains:
        return 0.0
    n, c = w.numbers, w.counts
    block = c.block / w.split.tensor
    per = n.quantisation.bits / 8 if n.quantisation else n.compute
    root = (c.embedding + c.head) / w.split.tensor
    if w.split.pipeline > 1:
        # A stage is gathered once for all micro-batches, and reduced after the last.
        whole = c.base / (w.split.tensor * w.split.pipeline)
        return n.compute * whole * (2.0 if c.trained_base else 1.0)
    if w.engine.live_parameters is not None:
        alive = min(w.engine.live_parameters, c.base / w.split.tensor)
        gathered = per * alive
    else:
        gathered = per * 2 * block + n.compute * root
    gradients = n.compute * block if c.trained_base else 0.0
    return gathered + gradients + n.compute * w.engine.bucket_elements * bool(c.trained_base)
