"""The estimate solved the other way round: what is the most that still fits, and what helps.

Memory never falls when a batch, a sequence or a model grows, so the largest that fits is found by
doubling and halving. `surely` counts the high end of the card's interval, `likely` its middle.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.job import Job
from knowledge import gpus, methods, models, prices
from knowledge.errors import UserError
from knowledge.quantities import Range

BATCHES, TOKENS, GPUS = 2**16, 2**24, 2**10  # where the search ends
# What people change first, mildest first: no effect on the result, then more and more.
CHANGES: tuple[dict[str, Any], ...] = (
    {"checkpointing": "full"},
    {"loss_impl": "chunked"},
    {"attention": "sdpa"},
    {"optimizer": "adamw-8bit"},
    {"micro_batch": 1},
    {"offload": "optimizer"},
    {"quant": "nf4-dq"},
    {"method": "lora"},
    {"method": "qlora"},
)


class Most(msgspec.Struct, frozen=True):
    """The largest value that fits: surely, and likely; None where not even the smallest does."""

    surely: Any
    likely: Any


class Change(msgspec.Struct, frozen=True):
    """One changed setting, what the card then holds [GiB], and what that saves."""

    setting: str
    value: Any
    card: Range
    saves_gib: float
    fits: bool


class Fit(msgspec.Struct, frozen=True):
    """What fits on the job's GPU; `changes` are in the order in which to try them."""

    gpu: str
    room_gib: float
    fits: bool
    fits_surely: bool
    card: Range
    micro_batch: Most
    seq_len: Most
    n_gpus: Most
    model: Most
    cheapest_gpu: Most
    changes: tuple[Change, ...]


def fit(job: Job) -> Fit:
    """The most that fits on the job's GPU, each setting moved by itself.

    Raises:
        UserError: the job names no GPU, or cannot be estimated as it is.
    """
    if job.gpu is None or job.gpu == "cpu":
        raise UserError("no GPU to fit the job on; give one, as in --gpu rtx-4090")
    now = estimate(job)
    if now.memory_gib is None:
        raise UserError(f"{job.method!r} takes no memory of a GPU of yours; nothing to fit")
    room = gpus.find(job.gpu).memory_gib
    return Fit(
        gpu=gpus.find(job.gpu).id,
        room_gib=room,
        fits=bool(now.fits),
        fits_surely=bool(now.fits_surely),
        card=now.memory_gib.card,
        micro_batch=_most(lambda n: replace(job, micro_batch=n), BATCHES),
        seq_len=_most(lambda n: replace(job, seq_len=n, seq_len_is="exact"), TOKENS),
        n_gpus=_fewest(job),
        model=_model(job),
        cheapest_gpu=_cheapest(job),
        changes=tuple(_changes(job, now)),
    )


def _most(changed: Callable[[int], Job], end: int) -> Most:
    """The largest whole number with which the job fits."""

    def largest(surely: bool) -> int | None:
        if not _fits(changed(1), surely):
            return None
        low, high = 1, 2
        while high <= end and _fits(changed(high), surely):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _fits(changed(middle), surely) else (low, middle)
        return low

    return Most(largest(surely=True), largest(surely=False))


def _fewest(job: Job) -> Most:
    """The fewest GPUs, doubled from one: training sharded with FSDP, serving by tensors."""
    trains = methods.find(job.method).trains != "nothing"

    def spread(count: int) -> Job:
        if count == 1:
            return replace(job, n_gpus=1, sharding="none", dp=None, tp=None)
        if trains:
            return replace(job, n_gpus=count, sharding="fsdp", dp=None, tp=None)
        return replace(job, n_gpus=count, sharding="none", tp=count, dp=None)

    counts = [2**power for power in range(GPUS.bit_length())]

    def first(surely: bool) -> int | None:
        return next((count for count in counts if _fits(spread(count), surely)), None)

    return Most(first(surely=True), first(surely=False))


def _model(job: Job) -> Most:
    """The largest catalogue model of the same kind that fits, by parameters."""
    kind = models.find(job.model).kind if isinstance(job.model, str) else "decoder"
    rows = [row for row in models.table().values() if row.kind == kind]
    rows.sort(key=lambda row: -row.architecture().parameters())

    def largest(surely: bool) -> str | None:
        return next((row.id for row in rows if _fits(replace(job, model=row.id), surely)), None)

    return Most(largest(surely=True), largest(surely=False))


def _cheapest(job: Job) -> Most:
    """The card with the lowest rent per hour on which the job fits."""
    rents = {name: rent.mid for name in gpus.table() if (rent := prices.rent(name)) is not None}
    ranked = sorted(rents, key=rents.__getitem__)

    def first(surely: bool) -> str | None:
        return next((name for name in ranked if _fits(replace(job, gpu=name), surely)), None)

    return Most(first(surely=True), first(surely=False))


def _changes(job: Job, now: Estimate) -> Iterator[Change]:
    """What each single change saves, where the job allows it and it saves anything."""
    before = now.memory_gib.card.mid if now.memory_gib is not None else 0.0
    for change in CHANGES:
        ((setting, value),) = change.items()
        if getattr(job, setting) == value:
            continue
        after = _estimated(partial(replace, job, **change))
        if after is None or after.memory_gib is None:
            continue
        saved = before - after.memory_gib.card.mid
        if saved > 0.005 * before:
            yield Change(setting, value, after.memory_gib.card, saved, bool(after.fits))


def _fits(job: Job, surely: bool) -> bool:
    found = _estimated(lambda: job)
    return found is not None and bool(found.fits_surely if surely else found.fits)


def _estimated(made: Callable[[], Job]) -> Estimate | None:
    """The estimate of a job; None where there can be no such job."""
    try:
        return estimate(made())
    except UserError:
        return None
