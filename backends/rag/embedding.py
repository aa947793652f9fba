"""Vectors of a corpus, kept as they come, so that an interrupted indexing goes on.

Kept by the hash of what is embedded: equal passages are embedded once, and passages that an
earlier attempt embedded are not embedded again.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Context
from backends.rag.chunks import Chunk
from backends.rag.embedder import Embedder, Vectors

FOLDER = "checkpoints"
# Batches embedded before the first save; then more at a time, until that many seconds lie between
# two saves: an engine that computes several batches at a time stands still at the end of each.
BATCHES_KEPT = 8
SAVED_AFTER = 5.0


class Kept(msgspec.Struct, frozen=True):
    """`checkpoints/kept.json`: whose vectors they are, and what they have cost so far."""

    fingerprint: str
    precision: str
    seconds: float
    peak_bytes: int


class Store:
    """The vectors kept in a step's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def kept(self) -> Kept | None:
        """What an earlier attempt left, or None."""
        path = self.folder / "kept.json"
        if not path.is_file():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=Kept)
        except msgspec.DecodeError:
            return None

    def clear(self) -> None:
        """Forget what is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, about: Kept) -> None:
        """Say whose vectors they are and what they cost so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = self.folder / "kept.json.new"
        fresh.write_bytes(msgspec.json.encode(about))
        fresh.replace(self.folder / "kept.json")

    def add(self, hashes: Sequence[str], vectors: Vectors) -> None:
        """Keep some vectors; a crash leaves them whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = len(list(self.folder.glob("vectors-*.npz")))
        fresh = self.folder / "vectors.new.npz"
        np.savez(fresh, hashes=np.asarray(hashes), vectors=vectors)
        fresh.replace(self.folder / f"vectors-{number:06}.npz")

    def vectors(self) -> dict[str, NDArray[np.float32]]:
        """The kept vectors by hash."""
        found: dict[str, NDArray[np.float32]] = {}
        for path in sorted(self.folder.glob("vectors-*.npz")):
            with np.load(path) as shard:
                found.update(zip(shard["hashes"].tolist(), shard["vectors"], strict=True))
        return found


def embedded(
    chunks: Sequence[Chunk],
    embedder: Embedder,
    store: Store,
    known: dict[str, NDArray[np.float32]],
    context: Context,
) -> tuple[Vectors, int]:
    """The vectors of passages in order, and how many had to be embedded now.

    Args:
        known: vectors by hash that need no embedding; the new ones are added to it.
    Raises:
        Interrupted: the user asked to stop; what is done is in the store.
    """
    texts = {chunk.hash: chunk.searched for chunk in chunks}
    missing = [key for key in texts if key not in known]
    # Batches of equal length waste nothing on padding; the longest first shows the worst early.
    missing.sort(key=lambda key: len(texts[key]), reverse=True)
    done = len(texts) - len(missing)
    context.progress.start("indexing", len(texts), "passages")
    context.progress.advance(done)
    first, size = 0, embedder.batch_size * BATCHES_KEPT
    while first < len(missing):
        batch = missing[first : first + size]
        first += len(batch)
        context.check_stop(f"{done} of {len(texts)} passages are embedded and kept")
        begun = time.perf_counter()
        vectors = embedder.passages([texts[key] for key in batch])
        if time.perf_counter() - begun < SAVED_AFTER / 2:
            size *= 2
        store.add(batch, vectors)
        known.update(zip(batch, vectors, strict=True))
        done += len(batch)
        context.progress.advance(done)
    if not chunks:
        return np.zeros((0, embedder.dimensions), dtype=np.float32), 0
    return np.stack([known[chunk.hash] for chunk in chunks]), len(missing)
