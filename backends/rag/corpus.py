"""The corpus of a step: its sources, their documents and passages, and what was left out."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec
import numpy as np

from backends.base import Context
from backends.data import Document, Skipped
from backends.data.documents import File, contents, files, nothing_in
from backends.data.duplicates import Copies, Mark
from backends.data.languages import language_of
from backends.data.sensitive import sensitive
from backends.progress import Progress, Silence
from backends.rag.chunks import Chunk, TokenStarts, chunks
from backends.rag.index import FOLDER, LEFT_OUT, Catalogue, Entry, Source
from backends.rag.words import UNSPACED
from knowledge.errors import UserError

NAMED_IN_NOTES = 5
Duplicates = Literal["keep", "exact", "near"]
# Tokens a word above which an embedder spells the corpus's language out rather than knows it:
# with the packaged one English texts have 1.0 to 1.1, Spanish 1.8, Chinese 1.9, German 2.3.
SPELT_OUT = 1.5
_WORDS = re.compile(rf"[{UNSPACED}]{{1,2}}|[^\W\d_{UNSPACED}]+")


class Corpus(msgspec.Struct, frozen=True):
    """What a corpus holds now, beside what an index holds of it.

    `texts` are the documents to be indexed, by the name they are cited by; `origin` is the source
    of each and `marks` what tells its copies. `sources` are all sources as they are now, those
    unchanged included; `gone` are the sources that were replaced or are no more; `notes` say what
    was left out and why.
    """

    texts: dict[str, Document]
    origin: dict[str, str]
    marks: dict[str, Mark]
    sources: dict[str, Source]
    gone: set[str]
    left_out: int
    notes: tuple[str, ...]

    def entry(self, name: str, passages: int) -> Entry:
        """The document's line in the index's catalogue."""
        document = self.texts[name]
        return Entry(
            name=name,
            source=self.origin[name],
            passages=passages,
            title=document.title,
            kind=document.kind,
            language=language_of(document.text),
            sensitive=sensitive(document.text),
            key=self.marks[name].key,
            signature=self.marks[name].signature,
            meta=document.meta,
        )


class Given(msgspec.Struct, frozen=True):
    """Documents that come from no file: the name of their source, its digest, and they."""

    source: str
    digest: str
    documents: tuple[Document, ...]


def check(source: str) -> None:
    """Raise `UserError` if there is no such path, or no readable document in it."""
    found, skipped = files(source)
    for file in found:
        try:
            contents(file)
            return
        except UserError as error:
            skipped.append(Skipped(file.name, str(error)))
    raise nothing_in(source, skipped)


def read(
    source: str,
    held: Catalogue | None = None,
    *,
    duplicates: Duplicates = "exact",
    progress: Progress | None = None,
) -> Corpus:
    """What is new, changed and gone in a folder or file.

    Args:
        held: what an index has of it; files whose bytes are the same are not read again.
        duplicates: whether copies are indexed, or left out where they are exact, or near.
        progress: told about every file.
    Raises:
        UserError: there is no such path, or no readable document in it.
    """
    held = held or Catalogue()
    progress = progress or Silence()
    found, skipped = files(source)
    progress.start("reading", len(found), "files")
    digests: dict[str, str] = {}
    given: list[Given] = []
    failed = {one.path: Source("", skipped=one.reason) for one in skipped if one.reason != "hidden"}
    again = _changed_originals(found, held, digests)
    for number, file in enumerate(found, start=1):
        digest = digests[file.name]
        before = held.sources.get(file.name)
        if before is None or before.digest != digest or file.name in again:
            try:
                given.append(Given(file.name, digest, tuple(contents(file))))
            except UserError as error:
                failed[file.name] = Source(digest, skipped=str(error))
        progress.advance(number)
    gone = set(held.sources) - {file.name for file in found}
    corpus = merged(given, failed, gone, held, duplicates)
    if not corpus.texts and not any(one.skipped is None for one in corpus.sources.values()):
        reasons = [Skipped(name, one.skipped or "") for name, one in failed.items()]
        raise nothing_in(source, reasons)
    return corpus


def merged(
    given: Sequence[Given],
    failed: Mapping[str, Source],
    gone: Collection[str],
    held: Catalogue,
    duplicates: Duplicates,
) -> Corpus:
    """The corpus that given sources make of what an index holds.

    Args:
        failed: sources that could not be read.
        gone: sources that are no more.
    """
    out = {*gone, *failed, *(one.source for one in given)} & set(held.sources)
    stay = [entry for entry in held.documents if entry.source not in out]
    names = {entry.name for entry in stay}
    copies = Copies(near=duplicates == "near")
    if duplicates != "keep":
        for entry in stay:
            copies.original(entry.name, Mark(entry.key, entry.signature))
    texts: dict[str, Document] = {}
    origin: dict[str, str] = {}
    marks: dict[str, Mark] = {}
    skipped = [Skipped(name, one.skipped or "") for name, one in failed.items()]
    sources = {name: one for name, one in held.sources.items() if name not in out} | dict(failed)
    for one in given:
        copy_of: str | None = None
        for document in one.documents:
            if document.path in texts or document.path in names:
                skipped.append(Skipped(document.path, "its id stands twice; the first is kept"))
                continue
            mark = copies.mark(document.text)
            original = None if duplicates == "keep" else copies.original(document.path, mark)
            if original is not None:
                copy_of = original
                skipped.append(Skipped(document.path, f"a copy of {original}"))
                continue
            texts[document.path] = document
            origin[document.path] = one.source
            marks[document.path] = mark
        sources[one.source] = Source(one.digest, copy_of=copy_of)
    return Corpus(texts, origin, marks, sources, out, len(skipped), tuple(_notes(skipped)))


def passages(
    corpus: Corpus, starts: TokenStarts, size: int, overlap: int, context: Context
) -> list[list[Chunk]]:
    """The passages of each document, in the documents' order.

    Args:
        size: longest passage with its heading path [tokens].
        overlap: what neighbouring passages share [tokens].
    Raises:
        Interrupted: the user asked to stop; nothing is lost.
    """
    context.progress.start("cutting", len(corpus.texts), "documents")
    found: list[list[Chunk]] = []
    for number, document in enumerate(corpus.texts.values(), start=1):
        found.append(
            chunks(
                document.path,
                document.text,
                starts,
                size=size,
                overlap=overlap,
                kind=document.kind,
                title=_root(document),
                pages=document.pages,
            )
        )
        context.progress.advance(number)
        context.check_stop(f"{number} of {len(corpus.texts)} documents were cut into passages")
    return found


def is_spelt_out(texts: Sequence[str], starts: TokenStarts, sample: int = 100) -> bool:
    """Whether the embedder spells the texts' language out, and so knows little of its meaning."""
    if not texts:
        return False
    places = np.linspace(0, len(texts) - 1, min(sample, len(texts)))
    words = [_WORDS.findall(texts[int(at)]) for at in places]
    tokens = sum(len(one) for one in starts([" ".join(found[:400]) for found in words]))
    return tokens > SPELT_OUT * max(sum(min(len(found), 400) for found in words), 1)


def naming(names: Collection[str]) -> Callable[[str], str | None]:
    """What finds the document that somebody means.

    By its name, or by its id in a JSONL corpus, its file name or that without the suffix, where
    only one document has it; None for no document.
    """
    short: dict[str, set[str]] = {}
    for name in names:
        key, path = name.partition("#")[2], PurePosixPath(name)
        for other in {key, path.name, path.stem} - {""}:
            short.setdefault(other, set()).add(name)

    def named(wanted: str) -> str | None:
        if wanted in names:
            return wanted
        alike = short.get(wanted, set())
        return next(iter(alike)) if len(alike) == 1 else None

    return named


def _changed_originals(found: Sequence[File], held: Catalogue, digests: dict[str, str]) -> set[str]:
    """Sources left out as copies of a document whose own source changes; fills `digests`."""
    for file in found:
        digests[file.name] = _digest(file.path)
    moving = {name for name, one in held.sources.items() if digests.get(name) != one.digest}
    originals = {entry.name for entry in held.documents if entry.source in moving}
    return {name for name, one in held.sources.items() if one.copy_of in originals}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "blake2b").hexdigest()[:32]
    except OSError:
        return ""


def _root(document: Document) -> str:
    """The root of the heading path: the title, or for code the file itself.

    A Markdown text that begins with its title as a heading has it in its passages anyway.
    """
    if document.kind == "code":
        return document.path
    title = document.title or ""
    in_text = document.kind == "markdown" and any(
        line.strip("# ") == title for line in document.text[:2000].splitlines() if line[:1] == "#"
    )
    return "" if in_text else title


def _notes(skipped: Sequence[Skipped]) -> list[str]:
    notes = [
        f"not indexed: {one.path}: {one.reason.removeprefix(f'{one.path}, ')}"
        for one in skipped[:NAMED_IN_NOTES]
    ]
    if len(skipped) > NAMED_IN_NOTES:
        more = len(skipped) - NAMED_IN_NOTES
        notes.append(f"not indexed: {more} more; {FOLDER}/{LEFT_OUT} has every file and its reason")
    return notes
