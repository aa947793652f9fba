"""Whether drawn sequences are what they should be: tunes, DNA, log lines."""

from collections.abc import Iterable

from backends.base import Metric
from backends.scratch.sequences import abc, plain
from knowledge import statistics

CHECKS = {"abc": abc.fault, "dna": plain.dna_fault, "log": plain.log_fault}


def fault(kind: str, text: str) -> str | None:
    """What is wrong with a sequence of a kind; None where nothing is."""
    return CHECKS[kind](text)


def share(faults: Iterable[str | None]) -> Metric:
    """The share of sequences without a fault, with its 95 % interval."""
    found = [one is None for one in faults]
    low, high = statistics.wilson(sum(found), len(found))
    return Metric(sum(found) / len(found), low, high, len(found))
