"""The artefact `index/`: passages, vectors and words, written whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from backends.rag import vectors, words
from backends.rag.chunks import Chunk
from backends.rag.embedder import Embedder
from backends.rag.words import WordIndex
from knowledge.errors import UserError

VERSION = 1
FOLDER = "index"
# Where a replaced index waits until the new one is in its place; readers fall back on it.
REPLACED = "index.replaced"


class Manifest(msgspec.Struct, frozen=True):
    """`index.json`: what the index was made with and how it is asked.

    `embedder_path` leads from the run folder to an embedder that an earlier step made; None for
    one that its name finds. `abstain_below` is settled: calibrated, set, or the default.
    """

    version: int
    embedder: str
    embedder_path: str | None
    embedder_fingerprint: str
    dimensions: int
    precision: str
    chunk_tokens: int
    overlap_tokens: int
    language: str
    documents: int
    passages: int
    retriever: str
    dense_weight: float
    top_k: int
    answer_sentences: int
    abstain_below: float


class Index(msgspec.Struct, frozen=True):
    """A searchable corpus in memory; passage n has vector n and word counts n."""

    chunks: list[Chunk]
    nearest: Any
    words: WordIndex


def publish(index: Index, manifest: Manifest, folder: Path) -> Path:
    """Write the index into a step's folder; readers see the old one or the new one, whole."""
    place, replaced = folder / FOLDER, folder / REPLACED
    fresh = folder / f"{FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    vectors.save(index.nearest, fresh / "vectors.faiss")
    index.words.save(fresh / "bm25")
    with (fresh / "chunks.jsonl").open("wb") as lines:
        for chunk in index.chunks:
            lines.write(msgspec.json.encode(chunk) + b"\n")
    (fresh / "index.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    for path in sorted(fresh.rglob("*")):
        if path.is_file():
            _flush(path)
    if place.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        place.rename(replaced)
    fresh.rename(place)
    shutil.rmtree(replaced, ignore_errors=True)
    return place


def found(folder: Path) -> Path | None:
    """The index in a step's folder (or the folder itself, if it is one), or None."""
    for place in (folder / FOLDER, folder / REPLACED, folder):
        if (place / "index.json").is_file():
            return place
    return None


def manifest(folder: Path) -> Manifest:
    """What the index in a step's folder was made with.

    Raises:
        UserError: there is none, or it cannot be read, or its layout is of another version.
    """
    place = found(folder)
    if place is None:
        raise UserError(f"{str(folder)!r} holds no index; make one with a 'rag' step")
    content = (place / "index.json").read_bytes()
    try:
        version = msgspec.json.decode(content).get("version")
        if version != VERSION:
            raise UserError(
                f"the index in {str(place)!r} has layout {version!r}, this program reads "
                f"{VERSION}; build it again"
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, AttributeError) as error:
        raise _damaged(place, f"index.json: {error}") from None


def load(folder: Path) -> tuple[Index, Manifest]:
    """The index in a step's folder and what it was made with.

    Raises:
        UserError: there is none, or a file of it is missing, truncated or does not belong.
    """
    said = manifest(folder)
    place = found(folder) or folder
    try:
        chunks = [
            msgspec.json.decode(line, type=Chunk)
            for line in (place / "chunks.jsonl").read_bytes().splitlines()
        ]
        nearest = vectors.load(place / "vectors.faiss")
        counted = words.load(place / "bm25", said.language)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise _damaged(place, " ".join(str(error).split())[:160]) from None
    sizes = (said.passages, len(chunks), int(nearest.ntotal), counted.passages)
    if len(set(sizes)) > 1 or int(nearest.d) != said.dimensions:
        raise _damaged(
            place,
            f"index.json says {sizes[0]} passages of {said.dimensions} numbers, the files hold "
            f"{sizes[1]} passages, {sizes[2]} vectors of {nearest.d} and {sizes[3]} word counts",
        )
    return Index(chunks, nearest, counted), said


def refuse_other_embedder(said: Manifest, embedder: Embedder, folder: Path) -> None:
    """Raise `UserError` if the vectors of an index were made by another embedder."""
    if said.embedder_fingerprint != embedder.fingerprint:
        raise UserError(
            f"the index in {str(folder)!r} was made with the embedder {said.embedder!r} "
            f"({said.embedder_fingerprint[:12]}), not with {embedder.name!r} "
            f"({embedder.fingerprint[:12]}); name that one or build the index again"
        )


def _damaged(place: Path, what: str) -> UserError:
    return UserError(f"the index in {str(place)!r} is damaged ({what}); build it again")


def _flush(path: Path) -> None:
    """Bring a file's content to the disk before its folder gets its name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
