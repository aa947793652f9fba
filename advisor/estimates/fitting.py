"""The estimate solved the other way round: what is the most that still fits, and what helps.

Memory never falls when a batch or a sequence grows, so the largest that fits is found by sweeping
ever narrower spans. `surely` counts the high end of the card's interval, `likely` its middle.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from advisor.estimates import bill, estimate, sweep
from advisor.estimates.catalogue import needs
from advisor.estimates.checks import longest
from advisor.estimates.own import Own, lean
from advisor.estimates.records import Estimate
from advisor.estimates.settling import settled
from advisor.job import Job
from knowledge import gpus, models, prices
from knowledge.errors import UserError
from knowledge.gpus import Gpu
from knowledge.quantities import Range

BATCHES, TOKENS = 2**16, 2**24  # where the search ends
TRIED, GEOMETRIC = 64, 8
"""Values tried at once, and the span of them above which they are spread evenly by ratio."""
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


def fit(job: Job, own: Own | None = None) -> Fit:
    """The most that fits on the job's GPU, each setting moved by itself.

    Args:
        own: runs of the user's own that correct what a card holds.
    Raises:
        UserError: the job names no GPU, or cannot be estimated as it is.
    """
    if job.gpu is None or job.gpu == "cpu":
        raise UserError("no GPU to fit the job on; give one, as in --gpu rtx-4090")
    now = estimate(job, own)
    if now.memory_gib is None:
        raise UserError(f"{job.method!r} takes no memory of a GPU of yours; nothing to fit")
    gpu = gpus.find(job.gpu)
    room = _room(gpu, own, bill(job).card)
    return Fit(
        gpu=gpu.id,
        room_gib=gpu.memory_gib,
        fits=bool(now.fits),
        fits_surely=bool(now.fits_surely),
        card=now.memory_gib.card,
        micro_batch=_batch(job, room),
        seq_len=_length(job, room),
        n_gpus=_fewest(job, room),
        model=_model(job, room),
        cheapest_gpu=_cheapest(job, own),
        changes=tuple(_changes(job, now, own)),
    )


class Room(NamedTuple):
    """What a formula's card may come to [GiB]: its middle, and its high end."""

    likely: float
    surely: float


def _room(gpu: Gpu, own: Own | None, card: Range) -> Room:
    """A GPU's memory, as far as the user's own runs let the formulas fill it.

    Off by: little; how far runs move a figure depends on the width of its interval, and here that
    of the job as it is stands for all.
    """
    by = lean(own.runs, gpu.id, "memory").factor(card) if own is not None else 1.0
    return Room(gpu.memory_gib / by, gpu.memory_gib / max(1.0, by))


def _batch(job: Job, room: Room) -> Most:
    length = int(settled(job).span)

    def card(batches: Any) -> Any:
        return sweep.memory(job, micro_batch=batches, seq_len=length).card

    return _largest(card, BATCHES, room)


def _length(job: Job, room: Room) -> Most:
    w = settled(job)
    exact = replace(job, seq_len_is="exact", tokens_in=None)
    added = int(w.sizes["tokens"]) if w.adapter is not None and w.adapter.added_sequence else 0

    def card(lengths: Any) -> Any:
        return sweep.memory(exact, micro_batch=job.micro_batch or 1, seq_len=lengths).card

    return _largest(card, min(TOKENS, longest(w.arch) or TOKENS) - added, room)


def _largest(card: Callable[[Any], Any], end: int, room: Room) -> Most:
    """The largest whole number up to an end with which the card has room.

    Args:
        card: low, mid and high of the card for each of an array of numbers, shape (3, N).
    """
    import numpy as np

    def largest(row: int, limit: float) -> int | None:
        low, high = 0, end + 1  # fits, does not fit
        while high - low > 1:
            tried = np.unique(np.linspace(low + 1, high - 1, TRIED).astype(int))
            if high > GEOMETRIC * (low + 1):
                tried = np.unique(np.geomspace(low + 1, high - 1, TRIED).astype(int))
            held = tried[card(tried)[row] <= limit]
            low = int(held.max(initial=low))
            high = int(tried[tried > low].min(initial=high))
        return low or None

    return Most(largest(2, room.surely), largest(1, room.likely))


def _fewest(job: Job, room: Room) -> Most:
    """The fewest GPUs, doubled from one: training sharded with FSDP, serving by tensors."""
    (need,) = needs(job, of_models=(job.model or "",), of_methods=(job.method,))

    def first(row: int, limit: float) -> int | None:
        held = zip(need.counts, need.card[row], strict=True)
        return next((count for count, size in held if size <= limit), None)

    return Most(first(2, room.surely), first(1, room.likely))


def _model(job: Job, room: Room) -> Most:
    """The largest catalogue model of the same kind that fits, by parameters."""
    kind = settled(job).arch.kind
    rows = [row for row in models.table().values() if row.kind == kind]
    rows.sort(key=lambda row: -row.architecture().parameters())

    def largest(high: bool) -> str | None:
        limit = room.surely if high else room.likely
        for row in rows:
            card = _card(replace(job, model=row.id))
            if card is not None and (card.high if high else card.mid) <= limit:
                return row.id
        return None

    return Most(largest(True), largest(False))


def _cheapest(job: Job, own: Own | None) -> Most:
    """The card with the lowest rent per hour on which the job fits."""
    card = bill(job).card
    rents = {name: rent.mid for name in gpus.table() if (rent := prices.rent(name)) is not None}
    rooms = {name: _room(gpus.find(name), own, card) for name in sorted(rents, key=rents.get)}  # type: ignore[arg-type]

    def first(high: bool) -> str | None:
        held = (name for name, room in rooms.items()
                if (card.high <= room.surely if high else card.mid <= room.likely))  # fmt: skip
        return next(held, None)

    return Most(first(True), first(False))


def _changes(job: Job, now: Estimate, own: Own | None) -> Iterator[Change]:
    """What each single change saves, where the job allows it and it saves anything."""
    before = now.memory_gib.card.mid if now.memory_gib is not None else 0.0
    for change in CHANGES:
        ((setting, value),) = change.items()
        if getattr(job, setting) == value:
            continue
        after = _estimated(partial(replace, job, **change), own)
        if after is None or after.memory_gib is None:
            continue
        saved = before - after.memory_gib.card.mid
        if saved > 0.005 * before:
            yield Change(setting, value, after.memory_gib.card, saved, bool(after.fits))


def _card(job: Job) -> Range | None:
    """What a job's card shows; None where there can be no such job."""
    try:
        return bill(job).card
    except UserError:
        return None


def _estimated(made: Callable[[], Job], own: Own | None) -> Estimate | None:
    """The estimate of a job; None where there can be no such job."""
    try:
        return estimate(made(), own)
    except UserError:
        return None
