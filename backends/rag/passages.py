"""The passages of an index on disk, read one by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.rag.chunks import Chunk


class Passages(Sequence[Chunk]):
    """The passages in a file, each read when it is asked for."""

    def __init__(self, path: Path, starts: NDArray[np.int64]) -> None:
        # Mapped, so that the file may be deleted under a reader; an empty file cannot be.
        mapped = len(starts) > 1
        held = np.memmap(path, dtype=np.uint8, mode="r") if mapped else np.zeros(0, np.uint8)
        self._bytes: memoryview = held.data
        self._starts = starts
        if int(starts[-1]) != len(self._bytes):
            raise ValueError(f"{path.name} has {len(self._bytes)} bytes, not {int(starts[-1])}")

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, at: int) -> Chunk: ...
    @overload
    def __getitem__(self, at: slice) -> list[Chunk]: ...
    def __getitem__(self, at: int | slice) -> Chunk | list[Chunk]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(at)
        start, end = int(self._starts[at]), int(self._starts[at + 1])
        return msgspec.json.decode(self._bytes[start:end], type=Chunk)
