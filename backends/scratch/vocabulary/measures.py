"""What a tokenizer makes of texts: tokens, how many of them, and whether the text comes back."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from backends.scratch.vocabulary.pieces import cuts, pieces
from knowledge.errors import UserError

Item = TypeVar("Item")

BATCH = 2**20  # characters encoded at once: enough to keep every core busy


class Fertility(NamedTuple):
    """How finely a tokenizer cuts texts; `unknown` counts tokens that stand for lost text.

    Fewer tokens a word mean longer contexts and cheaper training.
    Source: https://aclanthology.org/2021.acl-long.243, section 4.
    """

    tokens: int
    words: int
    bytes: int
    unknown: int

    @property
    def tokens_per_word(self) -> float | None:
        """Tokens for each run of letters without a space; None without a word."""
        return self.tokens / self.words if self.words else None

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes that a token stands for; None without a token."""
        return self.bytes / self.tokens if self.tokens else None


def encoded(
    tokenizer: Any, texts: Iterable[str], watch: Callable[[int], None] = lambda _: None
) -> Iterator[list[int]]:
    """The token ids of each text in order, without special tokens.

    The name of a special token inside a text is text: it cannot end a document.

    Args:
        watch: told every now and then how many characters are done.
    """
    with _plain(tokenizer) as backend:
        ids: list[int] = []
        done = 0
        parts = pieces(texts, cuts(tokenizer))
        for batch in _batches(parts, lambda piece: len(piece.text)):
            found = backend.encode_batch([each.text for each in batch], add_special_tokens=False)
            for piece, tokens in zip(batch, found, strict=True):
                ids += tokens.ids
                if piece.last:
                    yield ids
                    ids = []
            done += sum(len(each.text) for each in batch)
            watch(done)


def fertility(tokenizer: Any, texts: Iterable[str]) -> Fertility:
    """How finely a tokenizer cuts texts, over all of them together."""
    tokens = words = size = lost = 0
    nothing = tokenizer.unk_token_id
    with _plain(tokenizer) as backend:
        for batch in _batches(texts, len):
            for text, found in zip(
                batch, backend.encode_batch(batch, add_special_tokens=False), strict=True
            ):
                tokens += len(found.ids)
                lost += 0 if nothing is None else found.ids.count(nothing)
                words += len(text.split())
                size += len(text.encode())
    return Fertility(tokens, words, size, lost)


def check_round_trip(tokenizer: Any, texts: Iterable[str]) -> None:
    """Refuse a tokenizer that changes a text.

    Raises:
        UserError: the first text that comes back otherwise, and where.
    """
    with _plain(tokenizer) as backend:
        number = 0
        for batch in _batches(texts, len):
            for text, found in zip(
                batch, backend.encode_batch(batch, add_special_tokens=False), strict=True
            ):
                number += 1
                back = backend.decode(found.ids, skip_special_tokens=False)
                if back != text:
                    raise UserError(f"text {number:,} {_difference(text, back)}")


def _difference(text: str, back: str) -> str:
    pairs = zip(text, back, strict=False)
    at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(text), len(back)))
    return (
        f"comes back changed at character {at:,}: {text[at : at + 20]!r} as {back[at : at + 20]!r};"
        " train a tokenizer of kind bpe, unigram or bytes, which keep every text"
    )


def _batches(items: Iterable[Item], length: Callable[[Item], int]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    held = 0
    for item in items:
        batch.append(item)
        held += length(item)
        if held >= BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


@contextmanager
def _plain(tokenizer: Any) -> Iterator[Any]:
    """The tokenizer's fast part, for which names of special tokens are text, and nothing is cut."""
    backend = tokenizer.backend_tokenizer
    before, cut, filled = backend.encode_special_tokens, backend.truncation, backend.padding
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        backend.encode_special_tokens = before
        if cut is not None:
            backend.enable_truncation(**cut)
        if filled is not None:
            backend.enable_padding(**filled)
