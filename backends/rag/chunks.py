"""Passages: pieces of a document that fit the embedder, cut where the document allows it."""

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import msgspec
import numpy as np

from backends.rag.sentences import sentences
from backends.rag.structure import SEPARATOR, Block, blocks

# For each text the offsets at which its tokens begin, in order.
TokenStarts = Callable[[Sequence[str]], list[list[int]]]
# Tokenisers keep several objects a token: longer stretches are given to them in pieces, and only
# some of those at a time.
PIECE_CHARACTERS = 100_000
PIECES_CHARACTERS = 2_000_000
# A million letters without a space are one unknown token to some: no passage is to be as long.
LONGEST_TOKEN = 64  # characters


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """A passage: `text` is exactly `document_text[start:end]`.

    `hash` is that of what is embedded (heading path and text); equal hashes, equal vectors.
    `page` is where it begins, 1 the first; None in a document without pages. `last_page` is
    where it ends, if that is another.
    """

    document: str
    heading: str
    start: int
    end: int
    text: str
    hash: str
    page: int | None = None
    last_page: int | None = None

    @property
    def searched(self) -> str:
        """What is embedded and what BM25 reads: the heading path above the text."""
        return searched(self.heading, self.text)


class _Unit(msgspec.Struct, frozen=True):
    """What is not cut any further: a sentence, a line of code, a whole block of code."""

    start: int
    end: int
    block: int


class _Tokens:
    """How many tokens a stretch of one document has."""

    def __init__(self, text: str, parts: Sequence[Block], token_starts: TokenStarts) -> None:
        pieces = [
            (start, min(start + PIECE_CHARACTERS, part.end))
            for part in parts
            for start in range(part.start, part.end, PIECE_CHARACTERS)
        ]
        self.starts = array("q")  # a list would take four times the memory
        for held in _together(pieces):
            starts = token_starts([text[start:end] for start, end in held])
            places = [
                start + offset
                for (start, _), offsets in zip(held, starts, strict=True)
                for offset in offsets
            ]
            self.starts.extend(_divided(places, held[-1][1], text))

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in `[start, end)`."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def cut(self, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
        """Pieces of `[start, end)` of at most `size` tokens each."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        edges = [start, *self.starts[first + size : last : size], end]
        yield from pairwise(edges)


def _together(pieces: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The pieces, as many at a time as a tokeniser is given at once."""
    held: list[tuple[int, int]] = []
    for piece in pieces:
        if held and piece[1] - held[0][0] > PIECES_CHARACTERS:
            yield held
            held = []
        held.append(piece)
    if held:
        yield held


def _divided(places: list[int], end: int, text: str) -> list[int]:
    """Where tokens begin, and more places in those that are too long."""
    gaps = np.diff([*places, end])
    more: list[int] = []
    for at in np.flatnonzero(gaps > LONGEST_TOKEN):
        start = places[at]
        long = len(text[start : start + gaps[at]].rstrip())
        more += range(start + LONGEST_TOKEN, start + long, LONGEST_TOKEN)
    return sorted([*places, *more]) if more else places


def searched(heading: str, text: str) -> str:
    """The heading path above the text, or the text alone."""
    return f"{heading}\n{text}" if heading else text


def chunks(
    name: str,
    text: str,
    token_starts: TokenStarts,
    *,
    size: int,
    overlap: int,
    kind: str = "text",
    title: str = "",
    pages: Sequence[int] = (),
) -> list[Chunk]:
    """The passages of one document, in order.

    A passage never reaches over a heading. Prose is cut between sentences, and between paragraphs
    where that leaves the passage at least half full. A fenced block of code that fits a passage
    is never cut; a longer one is cut between lines.

    Args:
        size: longest passage, heading path included [tokens].
        overlap: what a passage repeats of the one before in the same section [tokens].
        kind: how the text is structured, see `backends.rag.structure.blocks`.
        title: the document's own title, the root of every heading path.
        pages: offsets at which the document's pages begin.
    """
    parts = blocks(text, kind=kind, title=title)
    tokens = _Tokens(text, parts, token_starts)
    sections = _sections(parts)
    paths = [held[0].heading for held in sections]
    heading_tokens = [len(starts) for starts in token_starts(paths)] if paths else []
    found: list[Chunk] = []
    for number, (heading, held) in enumerate(zip(paths, sections, strict=True)):
        # Half the passage is the text's own, however long the headings above it are.
        room = max(size - heading_tokens[number], size // 2)
        units = list(_units(text, _bodies(held, paths[number + 1 :]), tokens, room))
        for start, end in _packed(units, tokens, room, overlap):
            passage = text[start:end]
            key = hashlib.blake2b(searched(heading, passage).encode(), digest_size=16)
            on, last = bisect_right(pages, start), bisect_right(pages, end - 1)
            place = (on or None, last if last > on else None)
            found.append(Chunk(name, heading, start, end, passage, key.hexdigest(), *place))
    return found


def texts_of(passages: Iterable[Chunk]) -> dict[str, str]:
    """The documents' texts as far as passages hold them, every character at its own offset."""
    pieces: dict[str, list[str]] = {}
    ends: dict[str, int] = {}
    for chunk in passages:
        held, end = pieces.setdefault(chunk.document, []), ends.get(chunk.document, 0)
        if chunk.end > end:
            held.append(" " * (chunk.start - end) + chunk.text[max(end - chunk.start, 0) :])
            ends[chunk.document] = chunk.end
    return {name: "".join(held) for name, held in pieces.items()}


def _sections(parts: Sequence[Block]) -> list[list[Block]]:
    """Runs of blocks under one heading; equal headings one after the other stay two sections."""
    found: list[list[Block]] = []
    for part in parts:
        if not found or part.kind == "heading" or part.heading != found[-1][0].heading:
            found.append([])
        found[-1].append(part)
    return found


def _bodies(held: list[Block], later: list[str]) -> list[Block]:
    """A section's blocks without its heading's line, unless nothing else would keep it.

    The path above every passage says the heading already; a heading with nothing under it is
    kept as a passage of its own.
    """
    bodies = [part for part in held if part.kind != "heading"]
    if bodies or (later and later[0].startswith(held[-1].heading + SEPARATOR)):
        return bodies
    return held


def _units(text: str, held: list[Block], tokens: _Tokens, size: int) -> Iterator[_Unit]:
    for number, part in enumerate(held):
        if part.kind == "code" and tokens.count(part.start, part.end) <= size:
            spans = [(part.start, part.end)]
        elif part.kind == "code":
            spans = _line_spans(text, part.start, part.end)
        else:
            spans = sentences(text, part.start, part.end)
        for start, end in spans:
            if tokens.count(start, end) <= size:
                yield _Unit(start, end, number)
            else:
                for piece in tokens.cut(start, end, size):
                    yield _Unit(*piece, number)


def _line_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans = []
    for line in text[start:end].splitlines(keepends=True):
        if line.strip():
            spans.append((start, start + len(line.rstrip("\r\n"))))
        start += len(line)
    return spans


def _packed(
    units: list[_Unit], tokens: _Tokens, size: int, overlap: int
) -> Iterator[tuple[int, int]]:
    """Runs of units that fill a passage, each beginning with what it repeats of the last."""
    first = past = 0
    while first < len(units):
        new = past  # the first unit that no passage holds yet
        past = first + 1
        while past < len(units) and tokens.count(units[first].start, units[past].end) <= size:
            past += 1
        past = _kinder(units, first, past, max(new, first), tokens, size)
        yield units[first].start, units[past - 1].end
        if past == len(units):
            return
        again = past
        while again - 1 > first and tokens.count(units[again - 1].start, units[past - 1].end) <= (
            overlap
        ):
            again -= 1
        # What is repeated must leave room for something new.
        while again < past and tokens.count(units[again].start, units[past].end) > size:
            again += 1
        first = again


def _kinder(units: list[_Unit], first: int, past: int, new: int, tokens: _Tokens, size: int) -> int:
    """The cut moved back to the end of a block, where the passage stays at least half full.

    It stays after `new`, the first unit that the passage must hold.
    """
    if past == len(units):
        return past
    for cut in range(past, new, -1):
        if tokens.count(units[first].start, units[cut - 1].end) * 2 < size:
            return past
        if units[cut - 1].block != units[cut].block:
            return cut
    return past
