"""The artefact `index/`: passages, vectors and words in one of two states, the old or the new.

`index.json` is the manifest and the only thing ever replaced: it names the folder of its version,
`000001/` and so on, whose files are written and flushed before and never changed after. A reader
takes the version that the manifest names; the version before stays until the next change, for
readers that are just opening it. One lock keeps writers apart.
"""

import os
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from backends.rag import vectors, words
from backends.rag.chunks import Chunk
from backends.rag.embedder import Embedder
from backends.rag.fusion import CONTEXT, Fusion
from backends.rag.passages import Passages
from backends.rag.vectors import Kind, Search
from backends.rag.words import Forms, WordIndex
from knowledge.errors import UserError

VERSION = 5
FOLDER = "index"
MANIFEST = "index.json"
LEFT_OUT = "not_indexed.txt"  # for people; `sources.json` of each version has it too
ATTEMPTS = 5  # to read a version that a writer replaces at the same time


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document of the index; its passages follow those of the documents before it.

    `source` is the file (or other source) that it came from, `key` and `signature` are what tells
    copies of it (`backends.data.duplicates`), `sensitive` how many secrets and
    personal data of each kind stand in it, `meta` what its source says of it besides.
    """

    name: str
    source: str
    passages: int
    title: str | None = None
    kind: str = "text"
    language: str | None = None
    sensitive: dict[str, int] = {}
    key: str = ""
    signature: bytes = b""
    meta: dict[str, str | int | float | bool] = {}


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A source as it was read: the hash of its bytes, and why it is not indexed, if it is not.

    `copy_of` names the document that its own repeats, word for word or nearly.
    """

    digest: str
    skipped: str | None = None
    copy_of: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """`sources.json`: what was read, and the documents in the order of their passages."""

    sources: dict[str, Source] = {}
    documents: list[Entry] = []


class Manifest(msgspec.Struct, frozen=True):
    """`index.json`: what the index was made with and how it is asked.

    `embedder_path` leads from the run folder to an embedder that an earlier step made; None for
    one that its name finds. `generator_path` does so for a writer on this machine.
    `abstain_below` is settled: calibrated, set, or the default; so are `dense_weight`,
    `word_forms` and `context` (`backends.rag.fusion`). `files` are the sizes of the version's files
    [bytes].
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
    engine: str = "torch"
    vectors: Search = Search("flat")
    vectors_wish: Kind | None = None
    reranker: str | None = None
    generator: str | None = None
    generator_path: str | None = None
    word_forms: Forms = "both"
    context: float = CONTEXT
    diversity: float = 0.0
    duplicates: str = "exact"
    corpus: str | None = None
    generation: int = 0
    files: dict[str, int] = {}

    @property
    def fusion(self) -> Fusion:
        """How hybrid ranks."""
        return Fusion(self.dense_weight, self.word_forms, self.context)


class Index(msgspec.Struct, frozen=True):
    """A searchable corpus; passage n has vector n and word counts n."""

    chunks: Sequence[Chunk]
    nearest: Any
    words: WordIndex
    catalogue: Catalogue = Catalogue()

    def rows(self, names: "set[str]") -> NDArray[np.int64]:
        """The positions of the passages of some documents."""
        found: list[NDArray[np.int64]] = []
        first = 0
        for entry in self.catalogue.documents:
            if entry.name in names:
                found.append(np.arange(first, first + entry.passages))
            first += entry.passages
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def publish(index: Index, manifest: Manifest, folder: Path) -> Manifest:
    """Write a new version into a step's folder; readers see the old one or the new one, whole.

    The caller holds the lock. What an earlier writer left unfinished is removed.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    before = _decoded(place) if (place / MANIFEST).is_file() else None
    kept = {_version(before.generation)} if before else set()
    _tidy(place, kept)
    generation = (before.generation if before else 0) + 1
    fresh = place / _version(generation)
    fresh.mkdir()
    _write(index, fresh)
    files = [path for path in sorted(fresh.rglob("*")) if path.is_file()]
    said = msgspec.structs.replace(
        manifest,
        generation=generation,
        documents=len(index.catalogue.documents) or manifest.documents,
        passages=len(index.chunks),
        files={path.relative_to(fresh).as_posix(): path.stat().st_size for path in files},
    )
    for path in [*files, *(p for p in fresh.rglob("*") if p.is_dir()), fresh, place]:
        _flush(path)
    waiting = place / f"{MANIFEST}.new"
    waiting.write_bytes(msgspec.json.format(msgspec.json.encode(said)))
    _flush(waiting)
    waiting.replace(place / MANIFEST)
    _flush(place)
    with suppress(OSError):  # a full disk: the change stands all the same
        left_out = _left_out(index.catalogue)
        (place / LEFT_OUT).unlink(missing_ok=True)
        if left_out:
            (place / LEFT_OUT).write_text(left_out, encoding="utf-8")
    _tidy(place, kept | {_version(generation)})
    return said


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers of the index in a step's folder out.

    Raises:
        UserError: another process is writing it.
    """
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"another process is changing the index in {str(folder)!r}; wait for it to finish"
        ) from None


def found(folder: Path) -> Path | None:
    """The index in a step's folder (or the folder itself, if it is one), or None."""
    for place in (folder / FOLDER, folder):
        if (place / MANIFEST).is_file():
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
    return _decoded(place)


def load(folder: Path, *, mapped: bool = True) -> tuple[Index, Manifest]:
    """The index in a step's folder and what it was made with.

    Args:
        mapped: leave vectors on disk; such an index cannot be changed.
    Raises:
        UserError: there is none, or a file of it is missing, truncated or does not belong.
    """
    for _ in range(ATTEMPTS):
        said = manifest(folder)
        try:
            return _loaded(found(folder) or folder, said, mapped=mapped), said
        except UserError:
            # Two changes since the manifest was read have taken its files away: look again.
            if manifest(folder).generation == said.generation:
                raise
    raise UserError(f"the index in {str(folder)!r} changes faster than it can be read; try again")


def refuse_other_embedder(said: Manifest, embedder: Embedder, folder: Path) -> None:
    """Raise `UserError` if the vectors of an index were made by another embedder."""
    if said.embedder_fingerprint != embedder.fingerprint and said.embedder == embedder.name:
        raise UserError(
            f"the embedder {said.embedder!r} has other weights ({embedder.fingerprint[:12]}) than "
            f"those that made the index in {str(folder)!r} ({said.embedder_fingerprint[:12]}); "
            "bring those back or build the index again"
        )
    if said.embedder_fingerprint != embedder.fingerprint:
        raise UserError(
            f"the index in {str(folder)!r} was made with the embedder {said.embedder!r} "
            f"({said.embedder_fingerprint[:12]}), not with {embedder.name!r} "
            f"({embedder.fingerprint[:12]}); name that one or build the index again"
        )


def document_at(index: Index, passage: int) -> Entry | None:
    """The document that a passage belongs to; None in an index without a catalogue."""
    firsts = np.cumsum([0, *(entry.passages for entry in index.catalogue.documents)])
    number = bisect_right(firsts.tolist(), passage) - 1
    documents = index.catalogue.documents
    return documents[number] if number < len(documents) else None


def _left_out(catalogue: Catalogue) -> str:
    """A line for each source that is not indexed: its name, and why."""
    held = {entry.source for entry in catalogue.documents}
    reasons = {
        name: one.skipped.removeprefix(f"{name}, ") if one.skipped else f"a copy of {one.copy_of}"
        for name, one in sorted(catalogue.sources.items())
        if one.skipped or (one.copy_of and name not in held)
    }
    return "".join(f"{name}: {reason}\n" for name, reason in reasons.items())


def _write(index: Index, fresh: Path) -> None:
    vectors.save(index.nearest, fresh / "vectors.faiss")
    index.words.save(fresh / "bm25")
    starts = [0]
    with (fresh / "chunks.jsonl").open("wb") as lines:
        for chunk in index.chunks:
            starts.append(starts[-1] + lines.write(msgspec.json.encode(chunk) + b"\n"))
    np.save(fresh / "chunks.npy", np.asarray(starts, dtype=np.int64))
    (fresh / "sources.json").write_bytes(msgspec.json.encode(index.catalogue))


def _loaded(place: Path, said: Manifest, *, mapped: bool) -> Index:
    folder = place / _version(said.generation)
    try:
        for name, size in said.files.items():
            seen = (folder / name).stat().st_size
            if seen != size:
                raise ValueError(f"{name} has {seen} bytes, not {size}")
        chunks = Passages(folder / "chunks.jsonl", np.load(folder / "chunks.npy"))
        nearest = vectors.load(folder / "vectors.faiss", mapped=mapped)
        counted = words.load(folder / "bm25", said.language)
        content = (folder / "sources.json").read_bytes()
        catalogue = msgspec.json.decode(content, type=Catalogue)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise _damaged(place, " ".join(str(error).split())[:160]) from None
    sizes = (said.passages, len(chunks), int(nearest.ntotal), counted.passages)
    if len(set(sizes)) > 1 or int(nearest.d) != said.dimensions:
        raise _damaged(
            place,
            f"index.json says {sizes[0]} passages of {said.dimensions} numbers, the files hold "
            f"{sizes[1]} passages, {sizes[2]} vectors of {nearest.d} and {sizes[3]} word counts",
        )
    return Index(chunks, nearest, counted, catalogue)


def _decoded(place: Path) -> Manifest:
    content = (place / MANIFEST).read_bytes()
    try:
        version = msgspec.json.decode(content).get("version")
        if version != VERSION:
            raise UserError(
                f"the index in {str(place)!r} has layout {version!r}, this program reads "
                f"{VERSION}; build it again"
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, AttributeError) as error:
        raise _damaged(place, f"{MANIFEST}: {error}") from None


def _version(generation: int) -> str:
    return f"{generation:06}"


def _tidy(place: Path, kept: set[str]) -> None:
    """Remove the versions that nobody needs."""
    for path in place.iterdir():
        if path.is_dir() and path.name.isdigit() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _damaged(place: Path, what: str) -> UserError:
    return UserError(f"the index in {str(place)!r} is damaged ({what}); build it again")


def _flush(path: Path) -> None:
    """Bring a file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
