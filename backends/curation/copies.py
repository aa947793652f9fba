"""Copies among texts whose sketches lie on disk: exact ones, and near ones verified by their sets.

Memory does not grow with the corpus but for a byte and a bit a text: the keys are gone through in
slices of their range, the pairs in ranges of texts, and sets are read where two are compared.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from backends.curation.hashing import Numbers
from backends.curation.sketches import BANDS, FILES

NEAR = 0.7  # least resemblance of a near copy
AT_ONCE = 2**20  # keys or pairs held at once
NEIGHBOURS = 64  # texts before it with the same key that a text is compared with
KEPT, EXACT, NEAR_COPY = 0, 1, 2


class Pair(NamedTuple):
    """Two texts by number, the earlier first, and their resemblance."""

    first: int
    second: int
    resemblance: float


class Sketches:
    """Folders of sketches, read as one: the texts of the second come after those of the first."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._stack = ExitStack()
        self._folders = list(folders)
        self.counts = [(folder / FILES[1]).stat().st_size // 4 for folder in self._folders]
        self._first = np.cumsum([0, *self.counts])
        self.count = int(self._first[-1])

    def __enter__(self) -> Self:
        self._runs, self._ends = [], []
        scratch = Path(self._stack.enter_context(TemporaryDirectory(prefix="ends-")))
        for number, folder in enumerate(self._folders):
            self._runs.append(self._stack.enter_context((folder / FILES[0]).open("rb")))
            ends = scratch / f"{number}.u64"
            _write_ends(folder / FILES[1], ends)
            self._ends.append(self._stack.enter_context(ends.open("rb")))
        self.set_of = lru_cache(maxsize=256)(self._set_of)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keys(self, column: int, width: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """The rows of a file of keys, `width` a text, in chunks with the number of the first."""
        rows = max(1, AT_ONCE // width)
        for folder, first in zip(self._folders, self._first, strict=False):
            with (folder / FILES[column]).open("rb") as file:
                at = int(first)
                while len(chunk := np.fromfile(file, "<u8", rows * width)):
                    yield at, chunk.reshape(-1, width)
                    at += len(chunk) // width

    def resemblance(self, first: int, second: int, least: float = 0.0) -> float:
        """Jaccard of two sets: shared runs of words among all; 0 where it is below `least`."""
        one, other = self.set_of(first), self.set_of(second)
        if min(len(one), len(other)) < least * max(len(one), len(other)) or not len(one):
            return 0.0
        both = np.concatenate([one, other])
        both.sort(kind="stable")  # merges two sorted halves
        shared = int((both[1:] == both[:-1]).sum())
        found = shared / (len(both) - shared)
        return found if found >= least else 0.0

    def _set_of(self, text: int) -> NDArray[np.uint32]:
        folder = int(np.searchsorted(self._first, text, side="right")) - 1
        local = text - int(self._first[folder])
        begin, end = np.frombuffer(os.pread(self._ends[folder].fileno(), 16, 8 * local), "<u8")
        size = 4 * (int(end) - int(begin))
        return np.frombuffer(os.pread(self._runs[folder].fileno(), size, 4 * int(begin)), "<u4")


def near_pairs(sketches: Sketches, least: float = NEAR) -> Iterator[Pair]:
    """All pairs of resemblance `least` and more that share a band, by their second text."""
    everything = np.zeros(sketches.count, np.uint8)
    with TemporaryDirectory(prefix="pairs-") as scratch:
        for code in _candidates(sketches, Path(scratch), everything):
            first, second = int(code) & 0xFFFFFFFF, int(code) >> 32
            found = sketches.resemblance(first, second, least)
            if found:
                yield Pair(first, second, found)


def verdicts(
    sketches: Sketches, *, near: bool = True, least: float = NEAR
) -> tuple[NDArray[np.uint8], Iterator[Pair]]:
    """What becomes of each text, and, while iterated, the near copies with what they copy.

    A text goes where an earlier one has the same words, or where one that stays resembles it: so
    every text that went has a like one that stays. The verdicts are complete when the iterator is.

    Shapes: (texts,) of `KEPT`, `EXACT`, `NEAR_COPY`.
    """
    verdict = np.zeros(sketches.count, np.uint8)
    for texts, same in _slices(sketches, 3, 1, verdict.copy()):
        verdict[texts[1:][same]] = EXACT
    return verdict, _dropped(sketches, verdict, least) if near else iter(())


def _dropped(sketches: Sketches, verdict: NDArray[np.uint8], least: float) -> Iterator[Pair]:
    with TemporaryDirectory(prefix="pairs-") as scratch:
        for code in _candidates(sketches, Path(scratch), verdict.copy()):
            first, second = int(code) & 0xFFFFFFFF, int(code) >> 32
            if verdict[first] != KEPT or verdict[second] != KEPT:
                continue
            found = sketches.resemblance(first, second, least)
            if found:
                verdict[second] = NEAR_COPY
                yield Pair(first, second, found)


def _candidates(
    sketches: Sketches, scratch: Path, verdict: NDArray[np.uint8]
) -> Iterator[np.uint64]:
    """Pairs of kept texts that share a band, each once, as second << 32 | first, ascending."""
    ranges = max(1, -(-sketches.count * 8 // AT_ONCE))  # eight candidates a text are many
    width = -(-sketches.count // ranges)
    files = [scratch / f"{number}.u64" for number in range(ranges)]
    for texts, same in _slices(sketches, 2, BANDS, verdict):
        codes = _linked(texts, same)
        second = (codes >> np.uint64(32)).astype(np.int64)
        bounds = np.searchsorted(second, np.arange(ranges + 1) * width)
        for number, file in enumerate(files):
            with file.open("ab") as out:
                out.write(codes[bounds[number] : bounds[number + 1]].tobytes())
    for file in files:
        if file.is_file():
            yield from np.unique(np.fromfile(file, np.uint64))


def _linked(texts: NDArray[np.int64], same: NDArray[np.bool_]) -> Numbers:
    """Each text with those before it in its run of equal keys, and with the run's first; sorted,
    each pair once.
    """
    begins = np.concatenate([np.ones(1, np.bool_), ~same])[: len(texts)]
    leader = np.maximum.accumulate(np.where(begins, np.arange(len(texts)), 0))
    follows = np.flatnonzero(~begins)
    codes = [_code(texts[leader[follows]], texts[follows])]
    reach = same.copy()
    for back in range(1, NEIGHBOURS + 1):
        at = np.flatnonzero(reach) + back
        if not len(at):
            break
        codes.append(_code(texts[at - back], texts[at]))
        reach = reach[:-1] & same[back:] if len(reach) > 1 else reach[:0]
    return np.unique(np.concatenate(codes))


def _code(first: NDArray[np.int64], second: NDArray[np.int64]) -> Numbers:
    return (second.astype(np.uint64) << np.uint64(32)) | first.astype(np.uint64)


def _slices(
    sketches: Sketches, column: int, width: int, verdict: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Kept texts sorted by key, in slices of the keys' range; whether the next has the same key."""
    slices = max(1, -(-sketches.count * width // AT_ONCE))
    for number in range(slices):
        keys, texts = [], []
        for first, rows in sketches.keys(column, width):
            wanted: NDArray[np.bool_] = (rows != 0) & (verdict[first : first + len(rows)] == KEPT)[
                :, None
            ]
            if slices > 1:
                wanted &= (rows >> np.uint64(1)) % np.uint64(slices) == number
            at = np.flatnonzero(wanted)
            keys.append(rows.reshape(-1)[at])
            texts.append(at // width + first)
        if not keys:
            return
        key, text = np.concatenate(keys), np.concatenate(texts)
        order = np.argsort(key, kind="stable")
        key, text = key[order], text[order]
        yield text, key[1:] == key[:-1]


def _write_ends(sizes: Path, ends: Path) -> None:
    """The running sum of a file of sizes, from 0, as u64."""
    total = 0
    with sizes.open("rb") as file, ends.open("wb") as out:
        out.write(np.zeros(1, "<u8").tobytes())
        while len(chunk := np.fromfile(file, "<u4", AT_ONCE)):
            sums = np.cumsum(chunk, dtype=np.uint64) + np.uint64(total)
            total = int(sums[-1])
            out.write(sums.astype("<u8").tobytes())
