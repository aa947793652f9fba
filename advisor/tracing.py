"""An estimate beside what the job's own code takes: traced on fake tensors, or measured here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from advisor.estimates.records import Estimate
from advisor.estimates.settling import settled
from advisor.estimates.workload import Workload
from advisor.job import Job
from backends import dryrun
from backends.dryrun import Request
from knowledge import models
from knowledge.errors import UserError
from knowledge.families import FAMILIES
from knowledge.files import text_of
from knowledge.quantities import GIB

UNTRACED = {
    "tp": (None, 1), "pp": (None, 1), "cp": (None, 1), "ep": (None, 1),
    "sharding": (None, "none", "fsdp"), "offload": (None, "none"), "loss_impl": (None, "full"),
    "in_backward": (None, False), "compile": (None, False), "phase": (None, "peak"),
    "gradient_accumulation": (None, 1), "train_also": (None,), "master_dtype": (None,),
    "optimizer_dtype": (None, "as-weights"),
}  # fmt: skip
"""Keys of a job that a trace does not follow, with the values that ask for nothing else."""


class Trace(msgspec.Struct, frozen=True):
    """A trace beside the estimate; memory is of one GPU [GiB], without allocator and context."""

    allocated_gib: float
    estimate_gib: float | None
    """The estimate's allocated, mid; None: its formulas do not know the model's family."""
    estimate_error: float | None
    """The estimate over the trace, less one."""
    peak_phase: str
    holder: str
    """The module that holds most of the peak."""
    phases_gib: dict[str, float]
    by_module_gib: dict[str, float]
    by_kind_gib: dict[str, float]
    traced_layers: tuple[tuple[int, ...], ...]
    layers: tuple[int, ...]
    notes: tuple[str, ...]


class Measurement(msgspec.Struct, frozen=True):
    """Two real steps beside the estimate [GiB]."""

    device: str
    allocated_gib: float
    reserved_gib: float
    estimate_gib: float | None
    estimate_error: float | None
    seconds_per_step: float
    phases_gib: dict[str, float]


class Runs(TypedDict, total=False):
    """What was run beside an estimate."""

    trace: Trace
    measured: Measurement


def estimated(job: Job) -> bool:
    """Whether the estimate's formulas know the family of the job's model."""
    keys = config(job.model)
    return "text_config" in keys or keys.get("model_type") in FAMILIES


def runs(job: Job, answer: Estimate | None, *, trace: bool, measure: bool) -> Runs:
    """The runs asked for, of the job as the estimate takes it.

    Args:
        answer: the job's estimate; None where there can be none.
    Raises:
        UserError: the job cannot be traced, or surely does not fit in this machine's memory.
    """
    if answer is not None and answer.memory_gib is None:
        raise UserError(f"the method {job.method!r} runs no model here; there is nothing to trace")
    wanted = request(job) if answer else spoken(job)
    estimate = answer.memory_gib.allocated.mid if answer and answer.memory_gib else None
    found: Runs = {}
    if trace:
        traced = dryrun.trace(wanted)
        found["trace"] = Trace(
            allocated_gib=traced.allocated / GIB, estimate_gib=estimate,
            estimate_error=_error(estimate, traced.allocated),
            peak_phase=traced.peak_phase, holder=traced.holder, phases_gib=_gib(traced.phases),
            by_module_gib=_gib(traced.by_module), by_kind_gib=_gib(traced.by_kind),
            traced_layers=traced.depths, layers=traced.layers, notes=traced.notes,
        )  # fmt: skip
    if measure:
        seen = dryrun.measure(wanted)
        found["measured"] = Measurement(
            device=seen.device, allocated_gib=seen.allocated / GIB,
            reserved_gib=seen.reserved / GIB, estimate_gib=estimate,
            estimate_error=_error(estimate, seen.allocated),
            seconds_per_step=seen.seconds_per_step, phases_gib=_gib(seen.phases),
        )  # fmt: skip
    return found


def _error(estimate: float | None, size: int) -> float | None:
    return None if estimate is None else estimate * GIB / size - 1


def _gib(sizes: Mapping[str, int]) -> dict[str, float]:
    return {name: size / GIB for name, size in sizes.items()}


def spoken(job: Job) -> Request:
    """The job as the dry run takes it; what is not said is the libraries' own default.

    Raises:
        UserError: the job asks for what a trace does not follow, or its model has no config.
    """
    _checked(job)
    said = {name: getattr(job, name, None) for name in Request.__struct_fields__}
    known = {name: value for name, value in said.items() if value is not None}
    return msgspec.convert(known | {"config": config(job.model)}, Request)


def _checked(job: Job) -> None:
    for key, values in UNTRACED.items():
        if getattr(job, key) not in values:
            raise UserError(f"{key} is {getattr(job, key)!r}; a trace follows {key} {values[-1]!r}")


def request(job: Job) -> Request:
    """The job as the dry run takes it; what is not said is what the estimate assumes.

    Raises:
        UserError: the job asks for what a trace does not follow, or its model has no config.
    """
    _checked(job)
    w = settled(job)
    adapter = w.adapter
    sizes = {key: int(w.sizes[key]) for key in ("rank", "tokens", "width") if key in w.sizes}
    return Request(
        config=config(job.model),
        method=w.method.id,
        lora_rank=sizes.get("rank") if adapter else None,
        lora_targets=(w.targets or None) if adapter else None,
        lora_dropout=(job.lora_dropout or 0.0) if adapter else 0.0,
        virtual_tokens=sizes.get("tokens") if adapter else None,
        adapter_width=sizes.get("width") if adapter else None,
        adapter_dtype=_dtype(w.numbers.added, job) if adapter else None,
        train=job.train or "head", last_k=job.last_k or 1, classes=job.classes or 2,
        loss_impl="full" if job.loss_impl else None,
        completions=job.completions or 8, reference=job.reference or "model",
        quant=_quant(job, w),
        weights_dtype=_dtype(w.numbers.weight, job), autocast=w.numbers.autocast,
        optimizer=job.optimizer or "adamw",
        micro_batch=job.micro_batch or 1, seq_len=_length(w), new_tokens=int(w.new_tokens),
        checkpointing=w.checkpointing,  # type: ignore[arg-type]  # one of the job's own words
        attention="eager" if w.attention == "eager" else "sdpa",
        sharding="fsdp" if w.split.weights > 1 else "none", n_gpus=w.split.gpus,
        device="cpu" if w.on_cpu else "cuda",
    )  # fmt: skip


def config(model: str | dict[str, Any] | None) -> dict[str, Any]:
    """The keys of a config.json that a job's model means.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if isinstance(model, dict):
        return model
    path = Path(model or "")
    if path.is_dir():
        path = path / "config.json"
    if path.suffix != ".json":
        return models.find(model or "").config
    try:
        return msgspec.json.decode(text_of(path, "config.json"), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise UserError(f"{str(path)!r} holds no JSON object: {error}") from None


def _length(w: Workload) -> int:
    """Tokens of a sequence without those that the method puts before it."""
    before = w.adapter is not None and w.adapter.added_sequence
    return int(w.tokens - (w.sizes["tokens"] if before else 0))


def _dtype(size: float, job: Job) -> Any:
    return "fp32" if size == 4 else job.weights_dtype if job.weights_dtype == "fp16" else "bf16"


def _quant(job: Job, w: Workload) -> str:
    if w.numbers.quantisation is None:
        return "none"
    return job.quant if job.quant not in (None, "none") else "nf4-dq"
