"""Compute-optimal sizing: the best size and number of tokens for a budget, the tokens for a model.

Source: https://arxiv.org/abs/2203.15556, approach 3: loss(N, D) = E + A / N^a + B / D^b, with the
constants of https://arxiv.org/abs/2404.10102, which agree with the paper's own twenty tokens for
each parameter. What a token costs on the hardware at hand comes from the project's own estimate,
so that small models pay for their lower efficiency.
Off by: the law is of one data set and architecture; the size is flat around its best.
"""

from collections.abc import Callable
from functools import cache
from math import exp, log, sqrt

import msgspec
from msgspec.structs import replace

from advisor.estimates import cost, duration, estimate
from advisor.estimates.efficiency import productive
from advisor.estimates.records import Estimate
from advisor.estimates.settling import settled
from advisor.estimates.subject import architecture
from advisor.job import Job
from advisor.validate.subject import of_size
from knowledge import constants
from knowledge.errors import UserError
from knowledge.quantities import HOUR, Range

IRREDUCIBLE, A, B, ALPHA, BETA = 1.8172, 482.01, 2085.43, 0.3478, 0.3658
SMALLEST, LARGEST = 1e6, 2e12
"""Parameters between which a best size is looked for."""
BESIDE = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Sizes shown beside the best, as multiples of it."""
GPU = "H100-SXM-80GB"
GOLDEN = (sqrt(5) - 1) / 2
DAY = 24.0


class Size(msgspec.Struct, frozen=True):
    """A model of a size trained on as many tokens as the budget allows, and the loss expected.

    `loss` is the cross-entropy of the law's own data [nats per token]: good for comparing sizes.
    """

    parameters: float
    tokens: float
    tokens_per_parameter: float
    loss: float


class Sizing(msgspec.Struct, frozen=True):
    """The best size for a budget, sizes beside it, and the estimate of training the best."""

    gpu: str
    n_gpus: int
    gpu_hours: float
    """What the budget allows."""
    best: Size
    beside: tuple[Size, ...]
    estimate: Estimate
    assumptions: tuple[str, ...]
    served: Size | None = None
    """As good as the best, and cheapest with the tokens that it is to serve."""


def loss(parameters: float, tokens: float) -> float:
    """Loss that the law expects [nats per token]."""
    expected: float = IRREDUCIBLE + A / parameters**ALPHA + B / tokens**BETA
    return expected


def tokens_for(parameters: float) -> float:
    """Tokens for which a model of this size is the best use of compute, at 6 N D operations."""
    return float((B * BETA * parameters**ALPHA / (A * ALPHA)) ** (1 / BETA))


def for_model(job: Job) -> Estimate:
    """The estimate of training the job's model from scratch on its compute-optimal tokens."""
    shape = architecture(job.model)
    return estimate(replace(job, method="scratch", tokens=tokens_for(shape.active_parameters())))


def with_serving(best: Size, served: float) -> Size:
    """The size that reaches the best one's loss with the least compute, its use included.

    Training costs 6 N D operations and serving 2 N for each token read or written.
    Source: https://arxiv.org/abs/2401.00448, equation 3.

    Args:
        served: tokens that the model reads and writes in its life.
    Raises:
        UserError: a negative number of them.
    """
    if served < 0:
        raise UserError(f"served is {served:g}; give the tokens of a model's life, 0 or more")

    def size(parameters: float) -> Size:
        left = best.loss - IRREDUCIBLE - A / parameters**ALPHA
        tokens = (B / left) ** (1 / BETA)
        return _size(parameters, tokens)

    def work(x: float) -> float:
        one = size(exp(x))
        return log(6 * one.parameters * one.tokens + 2 * one.parameters * served)

    # Below this size no number of tokens reaches the loss.
    least = (A / (best.loss - IRREDUCIBLE)) ** (1 / ALPHA)
    return size(exp(_lowest(work, log(least * 1.02), log(best.parameters * 4))))


def for_budget(
    job: Job, *, usd: float | None = None, hours: float | None = None, served: float | None = None
) -> Sizing:
    """The best size and tokens for a budget of money, or of hours on the job's GPUs.

    Args:
        served: tokens that the model is to read and write in its life; none: not asked.
    Raises:
        UserError: no budget, one of zero, no known price, or too little to train anything.
    """
    given = [name for name, value in (("usd", usd), ("hours", hours)) if value is not None]
    if len(given) != 1:
        raise UserError("give one budget: --usd, --hours (with --n-gpus), or --preset gpu-day")
    if (usd or hours or 0.0) <= 0:
        raise UserError(f"{given[0]} is {usd if usd is not None else hours:g}; it must be above 0")
    job = replace(job, gpu=job.gpu or GPU, n_gpus=job.n_gpus or 1, method="scratch")
    duration.checked_gpu(job)
    allowed = (hours or 0.0) * (job.n_gpus or 1) if usd is None else usd / _rent(job)
    tokens = _tokens_in(job, allowed)
    low, high = log(SMALLEST), log(LARGEST)
    best = exp(_lowest(lambda x: loss(exp(x), tokens(exp(x))), low, high))
    sizes = tuple(_size(best * by, tokens(best * by)) for by in BESIDE)
    chosen = replace(job, model=of_size("own", best, None), tokens=tokens(best))
    notes = (
        "the law's own data and architecture; better data lowers the loss, not the best size",
        "a model that serves many requests is best smaller, and trained longer, than this",
    )
    return Sizing(
        gpu=duration.card(job.gpu or GPU).id, n_gpus=job.n_gpus or 1, gpu_hours=allowed,
        best=sizes[BESIDE.index(1.0)], beside=sizes, estimate=estimate(chosen), assumptions=notes,
        served=None if served is None else with_serving(sizes[BESIDE.index(1.0)], served),
    )  # fmt: skip


def _size(parameters: float, tokens: float) -> Size:
    return Size(parameters, tokens, tokens / parameters, loss(parameters, tokens))


def _rent(job: Job) -> float:
    """USD of one GPU-hour on the job's terms."""
    lines, _ = cost.hours(job, Range(1.0, 1.0, 1.0), cost.energy(job, Range(1.0, 1.0, 1.0)))
    unknown = [line for line in lines if line.usd is None]
    if unknown:
        raise UserError(f"a budget of money needs a price: {unknown[0].why}")
    return sum(line.usd.mid for line in lines if line.usd is not None)


def _tokens_in(job: Job, gpu_hours: float) -> Callable[[float], float]:
    """Tokens that a model of a size sees in so many GPU-hours.

    The hours of a run are its tokens' over a share that falls with its length, so the tokens
    follow by going back from the hours.
    """

    useful = productive(gpu_hours, constants.find("goodput").mid)

    @cache
    def tokens(parameters: float) -> float:
        asked = replace(job, model=of_size("own", parameters, None), tokens=None, examples=None)
        speed = duration.training_speed(asked, settled(asked))
        if speed is None:
            raise UserError(f"the speed of {job.gpu} in this number format is not known")
        return speed.mid * HOUR * useful

    return tokens


def _lowest(value: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, by golden section."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > 1e-3:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = value(right)
    return (low + high) / 2
