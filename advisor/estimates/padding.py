"""Examples that do not fill their sequence: padded to the longest of the batch, unless packed."""

from math import exp
from statistics import NormalDist

from advisor.estimates.workload import Workload
from advisor.job import Job
from knowledge import constants
from knowledge.quantities import Range, exactly


def length(job: Job, w: Workload) -> float:
    """Tokens of one sequence as it is computed, padding included.

    Packed sequences are full. Otherwise the batch is as long as its longest example: lengths
    are taken as log-normal, and the longest of n at the median of the largest of n draws.
    """
    each = job.tokens_per_example
    if job.packing or each is None or each >= w.span:
        return w.span
    return min(w.span, each * _longest(w.sequences))


def useful(job: Job, w: Workload) -> Range:
    """Share of the computed tokens that are examples' own.

    Not packed and of unknown length, the share is as wide as published runs make it.
    """
    if job.packing:
        return exactly(1.0)
    if job.tokens_per_example is not None:
        return exactly(min(1.0, job.tokens_per_example / length(job, w)))
    if job.packing is False:
        return constants.find("unpacked-speed").range
    return exactly(1.0)


def _longest(sequences: float) -> float:
    """The longest of a batch over the mean, at least 1."""
    spread = constants.find("length-spread").mid
    place = NormalDist().inv_cdf((sequences - 0.375) / (sequences + 0.25))
    return max(1.0, exp(spread * place - spread**2 / 2))
