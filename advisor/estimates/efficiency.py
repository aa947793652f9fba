"""The share of a GPU's peak that a training step reaches, and of a long run's hours that count.

What moves it is in `Traits`, by how much in `Coefficients`; both are plain numbers, so that a
validation can fit the coefficients anew to some of the measured rows and predict the others.
"""

from math import exp, hypot, log, log10
from typing import NamedTuple

from advisor.estimates import flops
from advisor.estimates.padding import length
from advisor.estimates.workload import Workload
from advisor.job import Job
from knowledge import constants
from knowledge.errors import UserError
from knowledge.gpus import Gpu
from knowledge.quantities import Range

REFERENCE_INTENSITY = 156.0
"""Operations per byte of memory traffic of an A100: 312e12 FLOP/s over 2.0e12 B/s."""
NODE = 8
SHORT_RUN, LONG_RUN = 100.0, 1000.0
"""GPU-hours between which restarts, evaluation and waiting for data come to count in full."""
GROWN_UP = 2023
"""Since then fused attention, bf16 and sharding are what every framework does."""


class Traits(NamedTuple):
    """What moves the efficiency of a job.

    `tokens` are those of one pass, None where the batch is not said; `factor` gathers what
    judged constants say about experts, quantised weights and FP8.
    """

    width: float
    attention: float
    intensity: float
    tokens: float | None
    cards: float
    years: float
    factor: float


class Coefficients(NamedTuple):
    """The fitted constants of training speed, in the order of `FITTED`."""

    efficiency: float
    narrow_width: float
    intensity_exponent: float
    attention_cost: float
    elder_software: float
    goodput: float


FITTED = (
    "training-efficiency",
    "narrow-width",
    "intensity-exponent",
    "attention-cost",
    "elder-software",
    "goodput",
)


def coefficients() -> Coefficients:
    """The coefficients that are shipped."""
    return Coefficients(*(constants.find(name).mid for name in FITTED))


def traits(job: Job, w: Workload, gpu: Gpu) -> Traits:
    """What moves the efficiency of a job on a GPU.

    Raises:
        UserError: training in FP8 on a GPU that has none.
    """
    peak = gpu.peak("bf16") or gpu.peak("fp16") or gpu.peak("fp32") or 0.0
    return Traits(
        width=float(w.arch.hidden),
        attention=flops.attention_share(w),
        intensity=peak / gpu.bandwidth,
        tokens=None if job.micro_batch is None else w.batch_tokens * length(job, w) / w.span,
        cards=float(w.split.gpus),
        years=float(max(0, GROWN_UP - job.year)) if job.year is not None else 0.0,
        factor=_factor(job, w, gpu).mid,
    )


def share(traits: Traits, by: Coefficients) -> float:
    """Share of the dense 16-bit peak that a training step reaches.

    Wide matrices keep a GPU busy and narrow ones do not; a GPU that computes more for each byte
    it moves is harder to feed, the more so the fewer tokens share one reading of the weights;
    operations of attention take longer than those of matrix products.
    """
    cluster = constants.find("cluster-efficiency").mid
    reached: float = by.efficiency * traits.width / (traits.width + by.narrow_width)
    reached *= (traits.intensity / REFERENCE_INTENSITY) ** -by.intensity_exponent
    if traits.tokens is not None:
        # Weights are read once a pass: as many tokens balance that as the GPU has operations
        # for each byte.
        reached *= traits.tokens / (traits.tokens + traits.intensity)
    reached /= 1 + traits.attention * (by.attention_cost - 1)
    reached *= by.elder_software**traits.years
    spread: float = cluster ** log10(max(1.0, traits.cards / NODE))
    reached *= traits.factor * spread
    return reached


def range_of_share(job: Job, w: Workload, gpu: Gpu) -> Range:
    """The share with its 80 % interval, from the residuals of rows left out of the fit."""
    spread = constants.find("training-spread").range
    if job.micro_batch is None:
        spread = _together(spread, constants.find("batch-unsaid").range)
    factor = _factor(job, w, gpu)
    spread = _together(spread, Range(factor.low / factor.mid, 1.0, factor.high / factor.mid))
    return spread.scaled(share(traits(job, w, gpu), coefficients()))


def progress(hours: float, goodput: float) -> float:
    """Share of a run's GPU-hours that make progress: all of a short run's, `goodput` of a long."""
    length = log10(max(hours, SHORT_RUN) / SHORT_RUN) / log10(LONG_RUN / SHORT_RUN)
    left: float = goodput ** min(1.0, length)
    return left


def productive(hours: float, goodput: float) -> float:
    """GPU-hours that make progress among the hours of a run: `progress` the other way round."""
    low, high = 0.0, hours
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if middle / progress(middle, goodput) < hours else (low, middle)
    return high


def _factor(job: Job, w: Workload, gpu: Gpu) -> Range:
    """What experts, quantised weights and FP8 do to the speed."""
    found = Range(1.0, 1.0, 1.0)
    if w.arch.experts is not None:
        found = found.times(constants.find("experts-speed").range)
    if w.numbers.quantisation is not None:
        found = found.times(constants.find("quantised-speed").range)
    if job.fp8:
        if gpu.peak("fp8") is None:
            raise UserError(f"fp8 is yes but {gpu.id} computes no FP8; drop it or name another GPU")
        found = found.times(constants.find("fp8-speed").range)
    return found


def _together(one: Range, other: Range) -> Range:
    """The product of two independent spreads: their logarithms add up as squares."""
    low = exp(-hypot(log(one.low), log(other.low)))
    return Range(low, one.mid * other.mid, exp(hypot(log(one.high), log(other.high))))
