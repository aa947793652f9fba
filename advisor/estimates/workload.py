"""The physics of one job: everything that the estimators read, nothing left open.

`advisor.estimates.settling` makes it from a `Job`; here are only the records.
"""

import msgspec

from advisor.estimates.arithmetic import smaller
from advisor.estimates.formats import Quantisation
from knowledge.architecture import Architecture
from knowledge.engines import Engine
from knowledge.methods import Extra, Method


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the model as it is run, before any sharding.

    `linears` are the blocks' matrices, `experts` the part of them that expert parallelism
    divides; `head` counts a head that is held apart from the embedding.
    """

    linears: float
    experts: float
    embedding: float
    head: float
    rest: float
    largest_matrix: float
    block: float
    """The largest block."""
    trained_base: float
    """Parameters of the model itself that train."""
    copies: float
    """Modules copied to be trained in full beside an adapter."""
    added: float
    """Trained parameters that the method adds."""
    buffers: float
    """Frozen numbers that the method adds."""

    @property
    def base(self) -> float:
        """Parameters of the model itself."""
        return self.linears + self.embedding + self.head + self.rest


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one number of each kind (0: there is none)."""

    weight: float
    compute: float
    quantisation: Quantisation | None
    quantises_head: bool
    unquantised: float
    """A weight that stays unquantised beside quantised ones."""
    master: float
    gradient: float
    states: float
    """Optimizer states of one trained base parameter."""
    added: float
    added_states: float
    autocast: bool
    paged: bool
    in_backward: bool
    low_rank: int | None
    foreach: bool


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How the job is divided over GPUs; 1 where it is not."""

    gpus: int
    data: int
    tensor: int
    pipeline: int
    context: int
    expert: int
    weights: float
    """Ranks that share the weights out (ZeRO-3, FSDP), likewise gradients and states."""
    gradients: float
    states: float
    sequence_parallel: bool
    offload_states: bool
    offload_weights: bool


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One job, settled. `sequences` are read together on one GPU, `tokens` are those of one
    sequence on one GPU (its share under context parallelism), `span` those it attends to."""

    arch: Architecture
    method: Method
    engine: Engine
    counts: Counts
    numbers: Numbers
    split: Split
    extras: tuple[Extra, ...]
    trains: bool
    adapter: Method | None
    """Whose adapter trains; None when the base trains or nothing does."""
    targets: str
    adapter_dropout: bool
    """Whether an adapter's inputs are dropped out, and what that keeps."""
    sizes: dict[str, float]
    trained_blocks: float
    """Blocks with activations kept for the backward pass."""
    sequences: float
    tokens: float
    span: float
    new_tokens: float
    checkpointing: str
    attention: str
    fused: bool
    loss: str
    loss_bytes: float
    tiles: str
    """Log-probabilities in tiles: by a kernel, by torch's own operators, or not at all ("")."""
    outputs: float
    """Width of the head's output; 0: the method has no logits over the vocabulary."""
    kv_bits: float
    accumulates: bool
    moment: str
    scores: bool
    """Another pass gives log-probabilities: of a reference, or of what was sampled."""
    reach: float
    """Share of the stated sequence length that is likely reached (1: exact)."""
    gpu: str | None
    assumptions: tuple[str, ...]

    @property
    def batch_tokens(self) -> float:
        """Tokens that one GPU computes in one pass."""
        return self.sequences * self.tokens

    @property
    def logit_tokens(self) -> float:
        """Tokens for which logits are formed: all, or those of the answers and one before."""
        if self.method.group and self.new_tokens:
            return self.sequences * smaller(self.new_tokens + 1, self.tokens)
        return self.batch_tokens

    @property
    def over_vocabulary(self) -> bool:
        """Whether the head gives logits over the vocabulary (not classes, scores or nothing)."""
        return self.outputs == self.arch.vocab

    @property
    def on_cpu(self) -> bool:
        """Whether the job runs on a processor."""
        return self.gpu == "cpu"

    @property
    def layers(self) -> float:
        """Blocks of the model."""
        return self.arch.layers + self.arch.decoder_layers
