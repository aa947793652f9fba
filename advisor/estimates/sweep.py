"""Memory of many batches, lengths and counts of GPUs at once: the same formulas on arrays.

With `catalogue` and `fitting`, which use it, the only modules of the estimates that need numpy.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from advisor.estimates.memory import gaps, outside, spread
from advisor.estimates.moments import moments
from advisor.estimates.settling import settled
from advisor.estimates.workload import Workload
from advisor.job import Job
from knowledge.errors import UserError
from knowledge.quantities import GIB

Array = Any
"""A numpy array of floats."""
CHUNK = 16_384
"""Configurations at a time: their arrays stay in the processor's cache."""


class Swept(NamedTuple):
    """Low, mid and high of each configuration [GiB], shape (3, N)."""

    allocated: Array
    reserved: Array
    card: Array


def memory(job: Job, *, micro_batch: Array, seq_len: Array) -> Swept:
    """Memory of one GPU for each pair of batch and length, as `advisor.estimates.memory` has it.

    Args:
        job: all else; its own micro_batch and seq_len do not count.
        micro_batch, seq_len: sequences and tokens of each configuration, shape (N,) or one number.
    Raises:
        UserError: the job contradicts itself, or numpy is not installed.
    """
    try:
        import numpy as np
    except ImportError:
        raise UserError("a sweep needs numpy; install it with: pip install numpy") from None
    batch, length = np.broadcast_arrays(np.atleast_1d(micro_batch), np.atleast_1d(seq_len))
    batch, length = batch.astype(float).ravel(), length.astype(float).ravel()
    if not len(batch) or batch.min() < 1 or length.min() < 1:
        raise UserError("a sweep needs at least one configuration, batches and lengths from 1 on")
    out = Swept(*(np.empty((3, len(batch))) for _ in Swept._fields))
    for w, at in _parts(job, batch, length):
        swept = _swept(np, w, len(at))
        for field, values in zip(out, swept, strict=True):
            field[:, at] = values
    return out


def over_gpus(job: Job, counts: Sequence[int], alone: Workload | None = None) -> Swept:
    """Memory of one GPU for each count of them, with all that a job has sharded over them.

    Args:
        job: one that trains; its own n_gpus and sharding do not count.
        counts: GPUs, each 2 or more.
        alone: the job settled on one GPU, if it has been.
    Raises:
        UserError: the job contradicts itself.
    """
    import numpy as np

    if alone is not None and (alone.split.pipeline, alone.split.context) == (1, 1):
        one = alone
    else:
        one = settled(msgspec.structs.replace(job, n_gpus=2, sharding="fsdp", dp=None, tp=None))
    ranks = np.asarray(counts, dtype=float)
    split = msgspec.structs.replace(
        one.split, gpus=ranks, data=ranks, weights=ranks, gradients=ranks, states=ranks
    )
    return _swept(np, msgspec.structs.replace(one, split=split), len(ranks))


def _parts(job: Job, batch: Array, length: Array) -> Iterator[tuple[Workload, Array]]:
    """The job with a chunk of configurations on one side of the sliding window, and which."""
    import numpy as np

    one = settled(msgspec.structs.replace(job, micro_batch=1, seq_len=int(length.max())))
    more = one.span - length.max()
    window = one.arch.window or float("inf")
    for below in (True, False):
        side = np.flatnonzero((length + more < window) == below)
        for begin in range(0, len(side), CHUNK):
            at = side[begin : begin + CHUNK]
            share = one.split.pipeline if one.engine.local_batch else 1
            each = np.maximum(batch[at] / share, 1.0)
            span = length[at] + more
            yield (
                msgspec.structs.replace(
                    one, sequences=one.sequences * each, tokens=span / one.split.context, span=span
                ),
                at,
            )


def _swept(np: Any, w: Workload, count: int) -> Swept:
    best = np.full(count, -1.0)
    allocated = np.zeros((3, count))
    for moment in moments(w):
        figure = np.zeros((3, count))
        sorts: dict[str, Any] = {}
        for part in moment.parts:
            sorts[part.sort] = sorts.get(part.sort, 0.0) + part.size
        for sort, held in sorts.items():
            ends = spread(w, sort)
            for row, factor in enumerate((ends.low, ends.mid, ends.high)):
                figure[row] += factor * held
        size = sum(sorts.values())
        larger = size > best
        allocated = np.where(larger, figure, allocated)
        best = np.where(larger, size, best)
    allocated = allocated / GIB
    kept, beside = gaps(w), outside(w)
    reserved = allocated * np.array([[kept.low], [kept.mid], [kept.high]])
    card = reserved + np.array([[beside.low], [beside.mid], [beside.high]])
    return Swept(allocated, reserved, card)
