"""Orders that are functions of a key: no list is kept, so any corpus can be shuffled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROUNDS = 4
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / the golden ratio, as in splitmix64
LARGEST = 2**64 - 1


def key(*parts: int) -> int:
    """One 64-bit key out of numbers that name a thing (seed, source, epoch)."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = _mixed(mixed ^ np.uint64(part & LARGEST))
    return int(mixed[0])


def permuted(places: NDArray[np.int64], size: int, secret: int) -> NDArray[np.int64]:
    """Where a shuffle of `range(size)` puts each place: a bijection that the key decides.

    A balanced Feistel network on the next even power of two, walked until inside the range.
    Source: Black and Rogaway 2002, Ciphers with arbitrary finite domains,
    https://doi.org/10.1007/3-540-45760-7_9.

    Args:
        places: each at least 0 and below `size`.
    """
    half = max(1, (int(size - 1).bit_length() + 1) // 2)
    found = _feistel(places.astype(np.uint64), half, secret)
    while (outside := found >= np.uint64(size)).any():
        found[outside] = _feistel(found[outside], half, secret)
    return found.astype(np.int64)


def mixture(numbers: NDArray[np.int64], weights: Sequence[float], secret: int) -> NDArray[np.int64]:
    """Which source each sample comes from: in any run of samples nearly the weights' shares.

    The golden-ratio sequence falls into the sources' parts of the circle; among n samples a
    source's count is off by O(log n) only, where drawing at random is off by O(sqrt n).
    Source: Kuipers and Niederreiter 1974, Uniform distribution of sequences, chapter 2.3.
    """
    with np.errstate(over="ignore"):
        circle = numbers.astype(np.uint64) * np.uint64(GOLDEN) + np.uint64(secret)
    ends = np.cumsum(np.asarray(weights, dtype=np.float64)) / float(np.sum(weights))
    ends_in_all = (ends[:-1] * 2.0**64).astype(np.uint64)
    return np.searchsorted(ends_in_all, circle, side="right").astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, secret: int) -> NDArray[np.uint64]:
    low = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    left, right = values >> shift, values & low
    for number in range(ROUNDS):
        round_key = np.uint64((secret + (number + 1) * GOLDEN) & LARGEST)
        left, right = right, left ^ (_mixed(right ^ round_key) & low)
    return (left << shift) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64. Source: https://doi.org/10.1145/2660193.2660195."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(GOLDEN)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
