"""Changing an index in place: what is new is embedded, what is gone is dropped, the rest stays.

A change is one new version of the artefact, published whole (`backends.rag.index`).
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np

from backends.base import Context
from backends.progress import Progress, Silence
from backends.rag import corpus as corpora
from backends.rag import index as artefact
from backends.rag import vectors
from backends.rag.building import opened, told_sensitive
from backends.rag.chunks import Chunk
from backends.rag.corpus import Corpus, Given
from backends.rag.embedder import Embedder
from backends.rag.embedding import Kept, Store, embedded
from backends.rag.index import Catalogue, Entry, Index, Manifest
from backends.rag.sections import sections
from knowledge.errors import UserError


class Change(msgspec.Struct, frozen=True):
    """What a change did: sources by what happened to them, passages now and embedded for it."""

    added: int
    replaced: int
    deleted: int
    unchanged: int
    passages: int
    embedded: int
    generation: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether all was as before, so that no version was written."""
        return not (self.added or self.replaced or self.deleted)


def update(
    folder: Path,
    *,
    corpus: str | None = None,
    given: Sequence[Given] = (),
    delete: Collection[str] = (),
    embedder: Embedder | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Change:
    """Bring the index in a step's folder up to date.

    With neither `given` nor `delete`, to the folder that it was made from, or `corpus`.

    Args:
        given: sources to add, or to put in the place of those of the same name.
        delete: sources or documents to drop.
        embedder: that of the index, where it is loaded already.
    Raises:
        UserError: there is no such source, the index cannot be used, another process writes it,
            or its embedder has changed.
        Interrupted: the user asked to stop; the index is as before, the vectors made are kept.
    """
    begun = time.perf_counter()
    progress = progress or Silence()
    context = Context(folder=folder, progress=progress, should_stop=should_stop, resume=True)
    if artefact.found(folder) is None:
        artefact.manifest(folder)  # says that there is none, and makes no folder
    with artefact.locked(folder):
        index, said = artefact.load(folder, mapped=False)
        now = _wanted(index, said, corpus, given, delete, progress)
        before = index.catalogue.sources
        if now.sources == before:
            unchanged = len(before)
            size, at = len(index.chunks), said.generation
            spent = time.perf_counter() - begun
            return Change(0, 0, 0, unchanged, size, 0, at, spent, now.notes)
        model = embedder
        if model is None and now.texts:
            model = opened(folder, said)
        if model is not None:
            artefact.refuse_other_embedder(said, model, folder)
        fresh, manifest, count = _changed(index, said, now, model, context)
        published = artefact.publish(fresh, manifest, folder)
    Store(folder).clear()
    added = len(set(now.sources) - set(before))
    deleted = len(set(before) - set(now.sources))
    replaced = sum(name in before and before[name] != one for name, one in now.sources.items())
    return Change(
        added=added,
        replaced=replaced,
        deleted=deleted,
        unchanged=len(now.sources) - added - replaced,
        passages=len(fresh.chunks),
        embedded=count,
        generation=published.generation,
        seconds=time.perf_counter() - begun,
        notes=(
            *now.notes,
            *told_sensitive(fresh.catalogue.documents[-len(now.texts) :] if now.texts else []),
        ),
    )


def watched(
    folder: Path, changed: Callable[[Change], Any], stop: Event | None = None, **options: Any
) -> None:
    """Update the index whenever its corpus changes, until `stop` is set.

    Args:
        changed: told about every change that did something.
        options: further ones of `update`.
    Raises:
        UserError: the corpus is not known or is gone, or as `update`.
    """
    from watchfiles import watch  # wanted by this one mode only

    said = artefact.manifest(folder)
    corpus = options.pop("corpus", None) or said.corpus
    if corpus is None or not Path(corpus).exists():
        raise UserError(f"the corpus {corpus!r} of the index is gone; name it with --corpus")
    options.setdefault("embedder", opened(folder, said))
    change = update(folder, corpus=corpus, **options)
    if not change.nothing:
        changed(change)
    for _ in watch(corpus, stop_event=stop, rust_timeout=500, raise_interrupt=False):
        try:
            change = update(folder, corpus=corpus, **options)
        except UserError as error:
            options.get("progress", Silence()).note(str(error))
            continue
        if not change.nothing:
            changed(change)


def _wanted(
    index: Index,
    said: Manifest,
    corpus: str | None,
    given: Sequence[Given],
    delete: Collection[str],
    progress: Progress,
) -> Corpus:
    held = index.catalogue
    duplicates: Any = said.duplicates
    if not given and not delete:
        source = corpus or said.corpus
        if source is None:
            raise UserError("the index does not say what it was made from; name it with --corpus")
        return corpora.read(source, held, duplicates=duplicates, progress=progress)
    sources = {entry.source for entry in held.documents} | set(held.sources)
    by_document = {entry.name: entry.source for entry in held.documents}
    unknown = [name for name in delete if name not in sources and name not in by_document]
    if unknown:
        raise UserError(f"the index has no source {unknown[0]!r}; see its sources.json")
    gone = {by_document.get(name, name) for name in delete}
    kept = [one for one in given if held.sources.get(one.source) != artefact.Source(one.digest)]
    return corpora.merged(kept, {}, gone, held, duplicates)


def _changed(
    index: Index, said: Manifest, now: Corpus, model: Embedder | None, context: Context
) -> tuple[Index, Manifest, int]:
    """The index as the corpus is now, its manifest, and how many passages were embedded."""
    stay: list[Entry] = []
    kept: list[np.ndarray[Any, Any]] = [np.zeros(0, dtype=np.int64)]
    dropped: list[int] = []
    first = 0
    for entry in index.catalogue.documents:
        rows = range(first, first + entry.passages)
        if entry.source in now.gone:
            dropped += rows
        else:
            stay.append(entry)
            kept.append(np.arange(first, first + entry.passages, dtype=np.int64))
        first += entry.passages
    keep = np.concatenate(kept)
    cut: list[list[Chunk]] = []
    added = np.zeros((0, said.dimensions), dtype=np.float32)
    count = 0
    if model is not None and now.texts:
        size, overlap = said.chunk_tokens, said.overlap_tokens
        cut = corpora.passages(now, model.starts, size, overlap, context)
        before = vectors.at(index.nearest, np.asarray(dropped, dtype=np.int64))
        known = {index.chunks[at].hash: row for at, row in zip(dropped, before, strict=True)}
        store = _own_store(context, model)
        fresh = [chunk for held in cut for chunk in held]
        added, count = embedded(fresh, model, store, known | store.vectors(), context)
    new = [chunk for held in cut for chunk in held]
    entries = [now.entry(name, len(held)) for name, held in zip(now.texts, cut, strict=True)]
    nearest = vectors.changed(index.nearest, keep, added)
    search = said.vectors
    wanted = said.vectors_wish or vectors.kind_for(nearest.ntotal, said.dimensions)
    if vectors.is_flat(nearest) and wanted != "flat":
        every = vectors.at(nearest, np.arange(nearest.ntotal))
        nearest, search = vectors.chosen(every, said.vectors_wish)
    result = Index(
        [*_at(index.chunks, keep), *new],
        nearest,
        index.words.changed(keep, [chunk.searched for chunk in new], sections(new)),
        Catalogue(now.sources, [*stay, *entries]),
    )
    manifest = msgspec.structs.replace(said, documents=len(stay) + len(entries), vectors=search)
    return result, manifest, count


def _own_store(context: Context, model: Embedder) -> Store:
    """The vectors that an interrupted change left, unless another embedder made them."""
    store = Store(context.folder)
    left = store.kept()
    if left is None or (left.fingerprint, left.precision) != (model.fingerprint, model.precision):
        store.clear()
        store.write(Kept(model.fingerprint, model.precision, 0.0, 0))
    return store


def _at(chunks: Sequence[Chunk], keep: "np.ndarray[Any, Any]") -> Iterator[Chunk]:
    for at in keep:
        yield chunks[int(at)]
