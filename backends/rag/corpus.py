"""The corpus of a step: its documents, their passages, and what was left out."""

from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath

import msgspec

from backends.base import Context
from backends.data import Document, Skipped, documents
from backends.rag.chunks import Chunk, TokenStarts, chunks

MARKDOWN = (".md", ".markdown")
NAMED_IN_NOTES = 5


class Corpus(msgspec.Struct, frozen=True):
    """Documents by the name they are cited by; how much was left out, and notes that say why."""

    texts: dict[str, Document]
    left_out: int
    notes: tuple[str, ...]


def read(source: str) -> Corpus:
    """The documents of a folder or file.

    Raises:
        UserError: there is no such path, or no readable document in it.
    """
    found, skipped = documents(source)
    texts: dict[str, Document] = {}
    for document in found:
        if document.path in texts:
            skipped.append(Skipped(document.path, "its id stands twice; the first is kept"))
        else:
            texts[document.path] = document
    left_out = [one for one in skipped if one.reason != "hidden"]
    return Corpus(texts, len(left_out), tuple(_notes(left_out)))


def passages(
    corpus: Corpus, starts: TokenStarts, size: int, overlap: int, context: Context
) -> list[Chunk]:
    """The passages of all documents, in the documents' order.

    Args:
        size: longest passage with its heading path [tokens].
        overlap: what neighbouring passages share [tokens].
    Raises:
        Interrupted: the user asked to stop; nothing is lost.
    """
    context.progress.start("cutting", len(corpus.texts), "documents")
    found: list[Chunk] = []
    for number, document in enumerate(corpus.texts.values(), start=1):
        markdown = _suffix(document.path) in MARKDOWN
        found += chunks(
            document.path,
            document.text,
            starts,
            size=size,
            overlap=overlap,
            markdown=markdown,
            # A Markdown file's title is its first heading, which its passages carry anyway.
            title="" if markdown else document.title or "",
        )
        context.progress.advance(number)
        context.check_stop(f"{number} of {len(corpus.texts)} documents were cut into passages")
    return found


def _suffix(name: str) -> str:
    return PurePosixPath(name.rpartition("#")[2] if "#" in name else name).suffix.lower()


def _notes(skipped: Sequence[Skipped]) -> list[str]:
    notes = [f"not indexed: {one.path}: {one.reason}" for one in skipped[:NAMED_IN_NOTES]]
    if len(skipped) > NAMED_IN_NOTES:
        notes.append(f"not indexed: {len(skipped) - NAMED_IN_NOTES} more files")
    return notes


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
