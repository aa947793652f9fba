"""Which solved items a message shows: the same for all texts, or those nearest to each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar

from backends.prompting import Choice
from backends.prompting.prompts import Example

AT_ONCE = 128  # texts embedded together
Asked = TypeVar("Asked")


class Selector(Protocol):
    """Gives each text its examples."""

    def chosen(self, texts: Sequence[str]) -> list[tuple[Example, ...]]:
        """The examples of each text, the nearest last."""


class Same:
    """The same examples for every text: a provider's cache can keep them."""

    def __init__(self, examples: tuple[Example, ...]) -> None:
        self.examples = examples

    def chosen(self, texts: Sequence[str]) -> list[tuple[Example, ...]]:
        """The examples of each text."""
        return [self.examples] * len(texts)


def indexed(path: Path, count: int) -> Any:
    """The vectors in a saved index, count x D; None where it is not of that many."""
    import faiss  # heavy, and wanted by one choice only

    if not path.is_file():
        return None
    index = faiss.read_index(str(path))
    return index.reconstruct_n(0, count) if index.ntotal == count else None


class Nearest:
    """For each text the examples whose embeddings are nearest to it (cosine, FAISS).

    Args:
        vectors: of the pool, N x D and of unit length.
    """

    def __init__(self, pool: Sequence[Example], count: int, embedder: Any, vectors: Any) -> None:
        import faiss  # heavy, and wanted by this choice only

        self._pool = tuple(pool)
        self._count = min(count, len(self._pool))
        self._embedder = embedder
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def save(self, path: Path) -> None:
        """Write the pool's vectors as a FAISS index, so that they are made once."""
        import faiss  # as above

        faiss.write_index(self._index, str(path))

    def chosen(self, texts: Sequence[str]) -> list[tuple[Example, ...]]:
        """The examples of each text, the nearest last: models heed most what they read last.

        Source: https://arxiv.org/abs/2101.06804 (nearest neighbours as examples).
        """
        if not texts:
            return []
        return self.nearest(self._embedder.passages(list(texts)))

    def nearest(self, vectors: Any) -> list[tuple[Example, ...]]:
        """The examples for vectors of unit length, N x D."""
        _, found = self._index.search(vectors, self._count)
        return [tuple(self._pool[row] for row in reversed(rows)) for rows in found.tolist()]


def selector(
    choice: Choice, pool: Sequence[Example], shots: int, seed: int, embedder: str, labelled: bool
) -> Selector:
    """What gives each text its examples.

    Args:
        pool: the solved items to choose from; `labelled` if their targets are classes.
        shots: examples a text; 0 for none.
        embedder: name of the model that texts are compared with, for `diverse` and `nearest`.
    """
    if not shots or not pool:
        return Same(())
    if choice == "nearest":
        return nearest(tuple(pool), shots, embedder)
    draw = Random(seed)
    shuffled = list(pool)
    draw.shuffle(shuffled)
    if choice == "balanced" and labelled:
        shuffled = _label_by_label(shuffled)
    if choice == "diverse":
        shuffled = _far_apart(shuffled, shots, _vectors(tuple(shuffled), embedder))
    chosen = shuffled[:shots]
    draw.shuffle(chosen)
    return Same(tuple(chosen))


def with_examples(
    items: Iterable[Asked], selector: Selector, text: Any
) -> Iterator[tuple[Asked, tuple[Example, ...]]]:
    """Items with their examples, chosen a batch ahead in a thread so that asking goes on."""
    if isinstance(selector, Same):
        yield from ((item, selector.examples) for item in items)
        return
    left = iter(items)

    def batch() -> list[tuple[Asked, tuple[Example, ...]]]:
        taken = list(islice(left, AT_ONCE))
        return list(zip(taken, selector.chosen([text(item) for item in taken]), strict=True))

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(batch)
        while ready := coming.result():
            coming = thread.submit(batch)
            yield from ready


def nearest(pool: tuple[Example, ...], shots: int, embedder: str, vectors: Any = None) -> Nearest:
    """The examples nearest to each text.

    Args:
        vectors: of the pool, where they have been made before.
    """
    made = _vectors(pool, embedder) if vectors is None else vectors
    return Nearest(pool, shots, _embedder(embedder), made)


@lru_cache(maxsize=2)
def _vectors(pool: tuple[Example, ...], embedder: str) -> Any:
    """The vectors of a pool; a search asks for the same ones again and again."""
    return _embedder(embedder).passages([example.text for example in pool])


@lru_cache(maxsize=1)
def _embedder(name: str) -> Any:
    from backends.rag import embedder  # loads torch; wanted by two of the choices only

    return embedder.load(name)


def _label_by_label(pool: Sequence[Example]) -> list[Example]:
    """Examples reordered so that each label has its first before any has its second; the order of
    the labels is that of the shuffled pool, so that few shots do not mean the first letters."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in pool:
        groups[example.target].append(example)
    ordered = list(groups.values())
    longest = max((len(group) for group in ordered), default=0)
    return [group[turn] for turn in range(longest) for group in ordered if turn < len(group)]


def _far_apart(pool: Sequence[Example], count: int, vectors: Any) -> list[Example]:
    """Examples that cover the pool: each next one is the farthest from those taken.

    Source: https://doi.org/10.1016/0304-3975(85)90224-5 (greedy k-center).
    """
    taken = [0]
    nearness = vectors @ vectors[0]
    while len(taken) < min(count, len(pool)):
        taken.append(int(nearness.argmin()))
        nearness = nearness.clip(min=vectors @ vectors[taken[-1]])
    return [pool[number] for number in taken]
