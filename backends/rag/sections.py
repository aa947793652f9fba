"""Sections: the passages of one document under one heading, one after the other."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from backends.rag.chunks import Chunk

# Passages to either side that say what a passage is about.
REACH = 2


def sections(chunks: Sequence[Chunk]) -> NDArray[np.int32]:
    """For each passage the number of its section, rising from 0."""
    if not chunks:
        return np.zeros(0, dtype=np.int32)
    begins = [
        (before.document, before.heading) != (after.document, after.heading)
        for before, after in pairwise(chunks)
    ]
    return np.cumsum([False, *begins], dtype=np.int32)


def joined(first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.int32]:
    """The sections of some passages and of others after them, numbered anew from 0."""
    beyond = first.max(initial=-1) + 1
    both = np.concatenate([first, second + beyond])
    begins = np.diff(both, prepend=both[:1]) != 0
    return np.cumsum(begins, dtype=np.int32)


def around(
    sections: NDArray[np.int32], passages: NDArray[np.int64], reach: int = REACH
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of some passages the first of its section within reach, and the end after the last.

    Args:
        sections: of all passages. passages: positions.
    """
    own = sections[passages]
    first, end = passages.copy(), passages + 1
    for step in range(1, reach + 1):
        before, after = passages - step, passages + step
        first -= (before >= 0) & (sections[np.maximum(before, 0)] == own)
        last = len(sections) - 1
        end += (after <= last) & (sections[np.minimum(after, last)] == own)
    return first, end
