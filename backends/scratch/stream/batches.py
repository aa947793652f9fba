"""Batches of packed tokens without end, resumable at the exact token.

A source's tokens are cut into windows of `length` targets that follow one another, so that an
epoch has every token once as a target (but for a rest shorter than a window, which each epoch
shifts). Which window comes when is a function of seed, source and epoch; what a stream has to
remember is how many it has given.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.scratch.stream.order import key, mixture, permuted
from backends.scratch.stream.shards import Shards
from knowledge.errors import UserError

PLANNED = 64  # batches whose places are drawn at once
MIXED = 2**63  # a number that names the choice of sources among the keys


class Source(NamedTuple):
    """Shards with their share of a mixture; the shares of all sources are relative."""

    shards: Shards
    weight: float = 1.0


class Batch(NamedTuple):
    """Source and first token of each row of a batch, and how many are drawn of each after it."""

    rows: list[tuple[int, int]]
    drawn: list[int]


class Stream:
    """An endless iterator of int64 arrays of shape (batch, length + 1).

    Row by row the inputs are `[:, :-1]` and the targets `[:, 1:]`.
    """

    def __init__(
        self,
        shards: Shards | Sequence[Source],
        length: int,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """A stream at its beginning.

        Args:
            shards: one corpus, or several with their weights (a domain with replay of general
                text, say).
            batch: rows that this process gets; all `world` processes together get that times as
                many, each other ones.
        Raises:
            UserError: a source is shorter than one window, or a weight is not positive.
        """
        self._sources = [Source(shards)] if isinstance(shards, Shards) else list(shards)
        for source in self._sources:
            if not source.weight > 0:
                raise UserError(f"a source's weight is {source.weight}; give one above 0")
            if source.shards.tokens < length + 1:
                raise UserError(
                    f"{str(source.shards.folder)!r} has {source.shards.tokens:,} tokens, less than "
                    f"one context of {length:,}; give more text or a shorter context"
                )
        self._length, self._batch, self._seed = length, batch, seed
        self._rank, self._world = rank, world
        self._windows = [(source.shards.tokens - 1) // length for source in self._sources]
        self._samples = 0
        self._drawn = [0] * len(self._sources)
        self._planned: deque[Batch] = deque()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return self

    def __next__(self) -> NDArray[np.int64]:
        if not self._planned:
            self._planned.extend(self._chosen(self._samples, self._drawn, PLANNED))
        chosen, self._drawn = self._planned.popleft()
        rows = [self._sources[s].shards.read(at, self._length + 1) for s, at in chosen]
        self._samples += self._batch * self._world
        for source, at in self._planned[0].rows if self._planned else ():
            self._sources[source].shards.expect(at, self._length + 1)
        return np.stack(rows)

    @property
    def tokens(self) -> int:
        """Targets given so far, to all processes together."""
        return self._samples * self._length

    @property
    def epochs(self) -> tuple[float, ...]:
        """How many times each source has been gone through."""
        return tuple(n / of for n, of in zip(self._drawn, self._windows, strict=True))

    def state(self) -> dict[str, Any]:
        """Where the stream stands, for JSON; `restore` goes on from there."""
        return {
            "samples": self._samples,
            "drawn": list(self._drawn),
            "seed": self._seed,
            "length": self._length,
            "sources": [source.shards.fingerprint for source in self._sources],
            "weights": [source.weight for source in self._sources],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; the number of processes may be another by now.

        Raises:
            UserError: it is of another order: the data, the seed, the context or the weights
                have changed.
        """
        own = self.state()
        for name in ("seed", "length", "sources", "weights"):
            if state[name] != own[name]:
                shown = "" if name == "sources" else f" ({state[name]} then, {own[name]} now)"
                raise UserError(
                    f"cannot go on at the same token: the {name} changed{shown}; "
                    "set it as it was, or begin a new run"
                )
        self._samples, self._drawn = int(state["samples"]), [int(n) for n in state["drawn"]]
        self._planned.clear()

    def _chosen(self, first: int, drawn: list[int], batches: int) -> Iterator[Batch]:
        """The next batches: drawing many at once costs hardly more than one."""
        size = self._batch * self._world
        number = np.arange(first, first + batches * size)
        of = mixture(number, [s.weight for s in self._sources], key(self._seed, MIXED))
        starts = np.zeros(len(number), dtype=np.int64)
        after = np.zeros((batches, len(self._sources)), dtype=np.int64)
        for source in range(len(self._sources)):
            its = np.flatnonzero(of == source)
            starts[its] = self._starts(source, drawn[source] + np.arange(len(its)))
            each = (of == source).reshape(batches, size).sum(axis=1)
            after[:, source] = drawn[source] + np.cumsum(each)
        for batch in range(batches):
            begin = batch * size + self._rank * self._batch
            mine = slice(begin, begin + self._batch)
            rows = list(zip(of[mine].tolist(), starts[mine].tolist(), strict=True))
            yield Batch(rows, after[batch].tolist())

    def _starts(self, source: int, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """First tokens of a source's windows, by how many of its windows came before."""
        windows = self._windows[source]
        spare = self._sources[source].shards.tokens - 1 - windows * self._length
        starts = np.empty(len(draws), dtype=np.int64)
        epochs = draws // windows
        for epoch in np.unique(epochs).tolist():
            its = epochs == epoch
            secret = key(self._seed, source, epoch)
            places = permuted(draws[its] % windows, windows, secret)
            starts[its] = places * self._length + secret % (spare + 1)
        return starts


def whole(shards: Shards, length: int, batch: int) -> Iterator[NDArray[np.int64]]:
    """All tokens once and in order: every token but the first is a target exactly once.

    Shapes: (at most `batch`, length + 1); at the end one row may be shorter than the others, and
    comes alone.
    """
    windows = (shards.tokens - 1) // length
    for first in range(0, windows, batch):
        rows = range(first, min(first + batch, windows))
        yield np.stack([shards.read(row * length, length + 1) for row in rows])
    rest = shards.tokens - 1 - windows * length
    if rest > 0:
        yield shards.read(windows * length, rest + 1)[None, :]
