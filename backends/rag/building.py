"""From a corpus to a searchable index in memory, resumed where an earlier attempt stopped."""

import os
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from backends.base import Context, Step
from backends.data.languages import stemmed_language
from backends.rag import Settings, embedder, vectors, words, writers
from backends.rag import corpus as corpora
from backends.rag import index as artefact
from backends.rag.chunks import Chunk
from backends.rag.corpus import Corpus
from backends.rag.embedder import DEFAULT_MODEL, Embedder
from backends.rag.embedding import Kept, Store, embedded
from backends.rag.fusion import Fusion
from backends.rag.index import Catalogue, Entry, Index, Manifest
from backends.rag.sections import sections
from backends.rag.words import WordIndex
from backends.training.meter import Meter
from knowledge.errors import UserError

# Weight of the embeddings in hybrid where no questions tell: little where the embedder has to
# spell the corpus's language out. MRR of the packaged encoder on XQuAD with 0.15, 0.1 and 0.05:
# German 0.926, 0.924 and 0.920 (BM25 alone 0.917), Spanish 0.958, 0.956 and 0.953 (0.951),
# Chinese 0.950, 0.953 and 0.954 (0.952).
DENSE_WEIGHT, DENSE_WEIGHT_SPELT_OUT = 0.5, 0.1


class Built(msgspec.Struct, frozen=True):
    """An index in memory, what made it, and the figures of its making."""

    index: Index
    embedder: Embedder
    search: vectors.Search
    chunk_tokens: int
    overlap_tokens: int
    fusion: Fusion
    duplicates: str
    corpus: str | None
    counts: dict[str, int]
    notes: list[str]

    def manifest(self, settings: Settings, context: Context, abstain_below: float) -> Manifest:
        """What `index.json` says of it."""
        path = None
        if self.embedder.name.startswith("step:"):
            there = context.artefacts[self.embedder.name.removeprefix("step:")]
            # Relative, so that the run folder can be moved as a whole.
            path = os.path.relpath(there, context.folder)
        return Manifest(
            version=artefact.VERSION,
            embedder=self.embedder.name,
            embedder_path=path,
            embedder_fingerprint=self.embedder.fingerprint,
            dimensions=self.embedder.dimensions,
            precision=self.embedder.precision,
            engine=self.embedder.engine,
            chunk_tokens=self.chunk_tokens,
            overlap_tokens=self.overlap_tokens,
            language=self.index.words.language,
            documents=self.counts["documents"],
            passages=len(self.index.chunks),
            vectors=self.search,
            vectors_wish=settings.vectors,
            retriever=settings.retriever,
            dense_weight=self.fusion.dense_weight,
            word_forms=self.fusion.forms,
            context=self.fusion.context,
            reranker=settings.reranker,
            generator=settings.generator,
            generator_path=writers.path_from(settings.generator, context.artefacts, context.folder),
            diversity=settings.diversity,
            top_k=settings.top_k,
            answer_sentences=settings.answer_sentences,
            abstain_below=abstain_below,
            duplicates=self.duplicates,
            corpus=self.corpus,
        )


def built(step: Step, settings: Settings, context: Context, meter: Meter) -> Built:
    """The index of the step's corpus.

    Raises:
        UserError: no document can be read, or the model cannot be loaded.
        Interrupted: the user asked to stop; the vectors made so far are kept.
    """
    source = step.data.corpus or ""
    corpus = corpora.read(source, duplicates=settings.duplicates, progress=context.progress)
    with ThreadPoolExecutor(1) as aside:
        stop = Event()
        described = aside.submit(_described, corpus, stop)
        try:
            return _built(corpus, described, step, settings, context, meter, aside)
        finally:
            stop.set()
            aside.shutdown(wait=False, cancel_futures=True)


def _built(
    corpus: Corpus,
    described: Future[list[Entry]],
    step: Step,
    settings: Settings,
    context: Context,
    meter: Meter,
    aside: Executor,
) -> Built:
    """The index of a corpus that is read.

    Args:
        described: the documents' lines of the catalogue, in the making.
        aside: does what needs no embedder: cutting leaves a core idle, and embedding moments.
    """
    model = embedder.load(step.model or DEFAULT_MODEL, context.artefacts, settings.batch_size)
    notes = list(corpus.notes)
    size = min(settings.chunk_tokens, model.window)
    if size < settings.chunk_tokens:
        notes.append(f"passages have at most {size} tokens: more the embedder does not read")
    overlap = min(settings.overlap_tokens, size // 2)
    cut = corpora.passages(corpus, model.starts, size, overlap, context)
    chunks = [chunk for held in cut for chunk in held]
    texts = [chunk.searched for chunk in chunks]
    counted = aside.submit(_counted, chunks, settings.language, described)
    refused = model.settle(settings.precision, texts, settings.engine)
    notes += [refused] if refused else []
    store = Store(context.folder)
    known = _known(context, model, store, meter)
    try:
        made, fresh = embedded(chunks, model, store, known, context)
    finally:
        store.write(Kept(model.fingerprint, model.precision, meter.seconds, meter.peak_bytes))
    context.log(phase="embedded", passages=len(chunks), embedded=fresh, seconds=meter.seconds)
    entries = [
        msgspec.structs.replace(entry, passages=len(held))
        for entry, held in zip(described.result(), cut, strict=True)
    ]
    nearest, search = vectors.chosen(made, settings.vectors)
    catalogue = Catalogue(corpus.sources, entries)
    index = Index(chunks, nearest, counted.result(), catalogue)
    weight = settings.dense_weight
    if weight is None:
        strange = corpora.is_spelt_out(texts, model.starts)
        weight = DENSE_WEIGHT_SPELT_OUT if strange else DENSE_WEIGHT
        if strange:
            notes.append(
                "the embedder does not know the documents' language: words count more than "
                "vectors; an embedder made for it finds more"
            )
    flagged = told_sensitive(entries)
    counts = {
        "documents": len(corpus.texts),
        "not_indexed": corpus.left_out,
        "passages": len(chunks),
        "embedded": fresh,
        "with_sensitive_data": sum(bool(entry.sensitive) for entry in entries),
    }
    return Built(
        index=index,
        embedder=model,
        search=search,
        chunk_tokens=size,
        overlap_tokens=overlap,
        fusion=_fusion(settings, Fusion(weight)),
        duplicates=settings.duplicates,
        corpus=str(Path(step.data.corpus or "").resolve()),
        counts=counts,
        notes=[*notes, *flagged],
    )


def _described(corpus: Corpus, stop: Event) -> list[Entry]:
    """The catalogue's lines of the documents, their passages not counted; fewer when stopped."""
    return [corpus.entry(name, 0) for name in corpus.texts if not stop.is_set()]


def _counted(chunks: Sequence[Chunk], language: str, described: Future[list[Entry]]) -> WordIndex:
    """The word index of passages.

    Args:
        language: Snowball's name, `none`, or `auto` for that of most documents.
    """
    if language == "auto":
        language = stemmed_language(entry.language for entry in described.result())
    return words.build([chunk.searched for chunk in chunks], language, sections(chunks))


def told_sensitive(entries: Sequence[Entry]) -> list[str]:
    """Which documents hold secrets or personal data, the most first; no datum is repeated."""
    held = sorted(
        (entry for entry in entries if entry.sensitive), key=lambda e: -sum(e.sensitive.values())
    )
    notes = [
        f"{entry.name} holds "
        + ", ".join(f"{number} {kind}" for kind, number in entry.sensitive.items())
        for entry in held[: corpora.NAMED_IN_NOTES]
    ]
    if len(held) > corpora.NAMED_IN_NOTES:
        more = len(held) - corpora.NAMED_IN_NOTES
        notes.append(f"{more} more documents hold secrets or personal data")
    return notes


def reused(step: Step, settings: Settings, context: Context) -> Built:
    """The index that the step names, to be asked with the step's own settings.

    Raises:
        UserError: there is none, it is damaged, or the step's model is not its embedder.
    """
    folder = place_of(step.index or "", context)
    index, said = artefact.load(folder)
    if step.model is None:
        model = opened(folder, said, settings.batch_size)
    else:
        model = embedder.load(step.model, context.artefacts, settings.batch_size)
        artefact.refuse_other_embedder(said, model, folder)
        model.follow(said.precision)
    return Built(
        index=index,
        embedder=model,
        search=said.vectors,
        chunk_tokens=said.chunk_tokens,
        overlap_tokens=said.overlap_tokens,
        fusion=_fusion(settings, said.fusion),
        duplicates=said.duplicates,
        corpus=said.corpus,
        counts={"documents": said.documents, "passages": said.passages, "embedded": 0},
        notes=[],
    )


def _fusion(settings: Settings, usual: Fusion) -> Fusion:
    """The fusion that is set, the usual where it is not."""
    return Fusion(
        usual.dense_weight if settings.dense_weight is None else settings.dense_weight,
        usual.forms if settings.word_forms is None else settings.word_forms,
        usual.context if settings.context is None else settings.context,
    )


def place_of(index: str, context: Context) -> Path:
    """The folder that a step's `index` names."""
    if not index.startswith("step:"):
        return Path(index).expanduser()
    name = index.removeprefix("step:")
    if name not in context.artefacts:
        raise UserError(f"index {index!r}: no earlier step {name!r} made one; check the plan")
    return context.artefacts[name]


def opened(folder: Path, said: Manifest, batch_size: int = 32) -> Embedder:
    """The embedder that made an index, in the precision of its vectors.

    Raises:
        UserError: it cannot be loaded, or has other weights by now.
    """
    artefacts = {}
    if said.embedder_path is not None:
        place = artefact.found(folder) or folder
        made_there = Path(os.path.normpath(place.resolve().parent / said.embedder_path))
        artefacts[said.embedder.removeprefix("step:")] = made_there
    model = embedder.load(said.embedder, artefacts, batch_size)
    artefact.refuse_other_embedder(said, model, folder)
    model.follow(said.precision)
    return model


def _known(
    context: Context, model: Embedder, store: Store, meter: Meter
) -> dict[str, NDArray[np.float32]]:
    """Vectors by hash that an earlier attempt in the same folder made with this embedder."""
    kept = store.kept() if context.resume else None
    if kept is None or (kept.fingerprint, kept.precision) != (model.fingerprint, model.precision):
        store.clear()
        store.write(Kept(model.fingerprint, model.precision, 0.0, 0))
        return _published(context, model)
    meter.carry(kept.seconds, kept.peak_bytes)
    return _published(context, model) | store.vectors()


def _published(context: Context, model: Embedder) -> dict[str, Any]:
    """The vectors of an index that this folder has already: killed after it was published."""
    if not context.resume or artefact.found(context.folder) is None:
        return {}
    try:
        index, said = artefact.load(context.folder)
    except UserError:
        return {}
    if (said.embedder_fingerprint, said.precision) != (model.fingerprint, model.precision):
        return {}
    every = vectors.at(index.nearest, np.arange(len(index.chunks), dtype=np.int64))
    return {chunk.hash: row for chunk, row in zip(index.chunks, every, strict=True)}
