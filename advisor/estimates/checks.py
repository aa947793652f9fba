"""What cannot be: each refusal names the key, the value and the range."""

from typing import NamedTuple

from advisor.job import Job
from knowledge.architecture import Architecture
from knowledge.errors import UserError
from knowledge.methods import Method


class Ranks(NamedTuple):
    """Degrees of parallelism that multiply to the number of GPUs."""

    gpus: int
    data: int
    tensor: int
    pipeline: int
    context: int
    expert: int


def check(
    job: Job, arch: Architecture, method: Method, quant: str, adapter: Method | None
) -> Ranks:
    """The job's parallel degrees, after all that contradicts is refused.

    Raises:
        UserError: one line, with key, value and range.
    """
    _quantisation(method, quant, adapter)
    _sizes(job, arch, method, adapter)
    return _ranks(job, arch)


def _quantisation(method: Method, quant: str, adapter: Method | None) -> None:
    if quant == "none":
        if method.quant == "must":
            raise UserError(
                f"quant is 'none' but {method.id} needs a quantised base; use nf4, or method lora"
            )
        return
    trains = "training" in method.phases
    if method.quant == "never" or (trains and adapter is None and method.trains == "all"):
        raise UserError(
            f"quant is {quant!r} but {method.id} trains its weights; quantised weights stay frozen "
            "(use qlora)"
        )
    if trains and quant.startswith("gguf"):
        raise UserError(f"quant is {quant!r}, a format for serving; train on nf4 or gptq-int4")


def _sizes(job: Job, arch: Architecture, method: Method, adapter: Method | None) -> None:
    width = min(arch.hidden, arch.ffn or arch.hidden)
    rank = job.lora_rank
    if rank is not None and rank > width:
        raise UserError(
            f"lora_rank is {rank}; it must be 1 to {width}, the model's narrowest width"
        )
    if rank is not None and "training" in method.phases and adapter is None:
        raise UserError(f"lora_rank is {rank} but {method.id} adds no adapter; use method lora")
    if job.adapter_width is not None and job.adapter_width > 4 * arch.hidden:
        raise UserError(f"adapter_width is {job.adapter_width}; it must be 1 to {4 * arch.hidden}")
    virtual = job.virtual_tokens or 0
    length = (job.seq_len or 0) + virtual
    limit = longest(arch)
    if limit is not None and length > limit:
        raise UserError(
            f"seq_len is {job.seq_len}; it must be 1 to {limit}, this model reads {arch.context} "
            "tokens"
        )
    if job.last_k is not None and job.last_k > arch.layers:
        raise UserError(f"last_k is {job.last_k}; it must be 1 to {arch.layers}")


def longest(arch: Architecture) -> int | None:
    """The longest sequence that a model reads [tokens]; None where it has no end.

    Computed positions are stretched in practice, twofold at most; learned ones end.
    """
    stretch = 1 if arch.positions == "learned" else 2
    return None if arch.context is None else arch.context * stretch


def _ranks(job: Job, arch: Architecture) -> Ranks:
    tensor, pipeline, context, expert = (job.tp or 1, job.pp or 1, job.cp or 1, job.ep or 1)
    if arch.heads % tensor:
        raise UserError(f"tp is {tensor}; it must divide the model's {arch.heads} heads")
    blocks = arch.layers + arch.decoder_layers
    if pipeline > blocks:
        raise UserError(f"pp is {pipeline}; the model has only {blocks} blocks")
    if expert > 1 and (arch.experts is None or arch.experts.count % expert):
        count = arch.experts.count if arch.experts else 0
        raise UserError(f"ep is {expert}; it must divide the model's {count} experts")
    model_ranks = tensor * pipeline * context
    gpus = job.n_gpus if job.n_gpus is not None else model_ranks * (job.dp or 1)
    if gpus % model_ranks:
        raise UserError(f"n_gpus is {gpus}; it must be a multiple of tp x pp x cp = {model_ranks}")
    data = gpus // model_ranks
    if job.dp is not None and data % job.dp:
        raise UserError(f"dp is {job.dp}; it must divide n_gpus / (tp x pp x cp) = {data}")
    if job.shard_group is not None and data % job.shard_group:
        raise UserError(f"shard_group is {job.shard_group}; it must divide dp = {data}")
    return Ranks(gpus, data, tensor, pipeline, context, expert)
