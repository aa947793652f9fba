"""Sketches of texts on disk: what near copies are found by, at a few hundred bytes a text.

Each run of five words is hashed once. The 32 highest bits are the text's set, kept sorted; the
lowest hash in each of 256 equal parts of their range is the text's sketch, as one permutation
gives it, with empty parts filled from the next full one. Sources: Broder 1997,
https://doi.org/10.1109/SEQUEN.1997.666900 (resemblance); Li, Owen and Zhang 2012,
https://arxiv.org/abs/1208.1259 (one permutation); Shrivastava and Li 2014,
https://arxiv.org/abs/1406.4784 (empty parts).
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from backends.curation.hashing import BASE, Numbers, Words, mixed, runs_of, words_of

RUN = 5  # words
PARTS_BITS = 8
PARTS = 2**PARTS_BITS
ROWS = 5  # of the sketch in one band: two texts of resemblance s share one with s**5
BANDS = PARTS // ROWS  # at 0.7 a pair misses all 51 bands once in 12,000 times
FILES = ("runs.u32", "sizes.u32", "bands.u64", "texts.u64")


class Sketcher:
    """Writes the sketches of texts, batch by batch, into a folder of four plain files.

    `runs.u32` are the sorted sets one after another, `sizes.u32` their lengths, `bands.u64` the
    keys of the bands (`BANDS` a text), `texts.u64` a hash of all words that equal texts share.
    """

    def __init__(self, folder: Path, *, append: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [(folder / name).open("ab" if append else "wb") for name in FILES]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()

    def add(self, texts: Sequence[str]) -> None:
        """Append texts; memory is that of the batch, so give a few megabytes at a time."""
        if not texts:
            return
        words = words_of(texts)
        sets, sizes = sets_of(words, len(texts))
        columns: tuple[NDArray[Any], ...] = (
            sets,
            sizes.astype(np.uint32),
            bands_of(sets, sizes),
            _whole(words, texts),
        )
        for file, column in zip(self._files, columns, strict=True):
            file.write(column.astype(column.dtype.newbyteorder("<")).tobytes())

    def flush(self) -> list[int]:
        """Everything to disk; the sizes of the files, to cut them back to after a crash."""
        for file in self._files:
            file.flush()
        return [file.tell() for file in self._files]


def sets_of(words: Words, count: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The sorted sets of hashed runs of `count` texts, one after another, and their sizes."""
    runs, of = runs_of(words, RUN)
    keys = (of.astype(np.uint64) << np.uint64(32)) | (runs >> np.uint64(32))
    keys.sort()
    keys = keys[np.flatnonzero(np.diff(keys, prepend=~keys[:1]))]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=count)
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32), sizes


def bands_of(sets: NDArray[np.uint32], sizes: NDArray[np.int64]) -> Numbers:
    """The keys that texts share where a band of their sketches is the same; 0 for no words.

    Shapes: (texts, BANDS).
    """
    text = np.repeat(np.arange(len(sizes)), sizes)
    part = (sets >> np.uint32(32 - PARTS_BITS)).astype(np.int64)
    place = text * PARTS + part
    first = np.flatnonzero(np.diff(place, prepend=-1))
    lowest = np.zeros(len(sizes) * PARTS, np.uint64)
    full = np.zeros(len(sizes) * PARTS, np.bool_)
    lowest[place[first]] = sets[first]
    full[place[first]] = True
    sketch = _filled(lowest.reshape(-1, PARTS), full.reshape(-1, PARTS))
    keys = np.zeros((len(sizes), BANDS), np.uint64)
    for row in range(ROWS):
        keys = mixed(keys + sketch[:, row : BANDS * ROWS : ROWS] + np.uint64(row + 1))
    keys = mixed(keys + np.arange(1, BANDS + 1, dtype=np.uint64)) | np.uint64(1)
    keys[sizes == 0] = 0
    return keys


def _filled(lowest: Numbers, full: NDArray[np.bool_]) -> Numbers:
    """Each empty part as the next full one around the circle, changed by how far that is."""
    twice = np.concatenate([full, full], axis=1)
    places = np.where(twice, np.arange(2 * PARTS), 2 * PARTS)
    nearest = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1][:, :PARTS]
    far = (nearest - np.arange(PARTS)).astype(np.uint64)
    values = np.take_along_axis(lowest, nearest % PARTS, axis=1)
    return mixed(values + (far << np.uint64(32)))


def _whole(words: Words, texts: Sequence[str]) -> Numbers:
    """One hash of all words of each text in their order; without words that of the characters."""
    first = np.searchsorted(words.texts, np.arange(len(texts) + 1))
    place = np.arange(len(words.hashes)) - first[words.texts]
    ordered = mixed(words.hashes + place.astype(np.uint64) * np.uint64(BASE))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(ordered)])
    whole = mixed(sums[first[1:]] - sums[first[:-1]])
    for number in np.flatnonzero(first[1:] == first[:-1]).tolist():
        content = texts[number].encode("utf-8", "surrogatepass")
        whole[number] = int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
    return whole
