"""The tokens of a corpus: a tokenizer made for it or taken, its figures, and shards."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from backends.base import Progress
from backends.curation import Settings
from backends.curation.corpus import curated_parts, texts
from backends.scratch.stream import write_shards
from backends.scratch.vocabulary import (
    Fertility,
    check_round_trip,
    encoded,
    extended,
    fertility,
    kept,
    trained,
)
from knowledge import token_rates
from knowledge.errors import UserError

LOOKED_AT = 200  # documents that a kind of text is told from
COMPARED = 2000  # documents that two tokenizers are compared on
FOLDER, SHARDS = "tokenizer", "tokens"


class Tokens(NamedTuple):
    """The tokens of both parts, the tokenizer's figures, and the base's beside them."""

    train: int
    validation: int
    own: Fertility
    base: Fertility | None
    vocabulary: int
    notes: tuple[str, ...] = ()


def tokenised(folder: Path, settings: Settings, model: str | None, progress: Progress) -> Tokens:
    """Make the tokenizer that the settings ask for, and write the corpus' tokens as shards.

    Args:
        folder: of the corpus' files.
        model: whose tokenizer is kept, extended, or compared with.
    Raises:
        UserError: the tokenizer cannot be made of this text, or changes it.
    """
    train, validation = curated_parts(folder)
    progress.start("tokenizer", 0, "documents")
    base = None if model is None else kept(model)
    tokenizer = _tokenizer(settings, base, train)
    shown = validation or train
    notes = _round_trip(settings, tokenizer, train)
    tokenizer.save_pretrained(folder / FOLDER)
    progress.start("tokens", 0, "documents")
    counts = [
        write_shards(
            encoded(tokenizer, texts(part)), folder / SHARDS / name, len(tokenizer), _end(tokenizer)
        ).tokens
        if part
        else 0
        for name, part in (("train", train), ("validation", validation))
    ]
    own = fertility(tokenizer, islice(texts(shown), COMPARED))
    theirs = None if base is None else fertility(base, islice(texts(shown), COMPARED))
    if own.unknown:
        notes.append(f"{own.unknown:,} of {own.tokens:,} tokens looked at stand for lost text")
    return Tokens(counts[0], counts[1], own, theirs, len(tokenizer), tuple(notes))


def usual_rate(paths: Iterable[Path]) -> tuple[float, str]:
    """Bytes of a token of a large vocabulary in texts of this kind, and that it is no count."""
    sample = list(islice(texts(paths), LOOKED_AT))
    characters = sum(map(len, sample))
    if not characters:
        return 4.5, "estimated for English prose"
    row = token_rates.table()[token_rates.kind("\n".join(text[:2000] for text in sample))]
    rate = row.mid * sum(len(text.encode()) for text in sample) / characters
    return rate, f"estimated for {row.says} and a vocabulary of 100,000"


def _tokenizer(settings: Settings, base: Any, train: tuple[Path, ...]) -> Any:
    learned_from = _first(texts(train), settings.tokenizer_megabytes * 2**20)
    if settings.tokenizer == "keep":
        return base
    if settings.tokenizer == "extend":
        return extended(base, learned_from, settings.new_pieces)
    return trained(str(settings.tokenizer), learned_from, settings.vocabulary_size)


def _first(found: Iterator[str], most: int) -> Iterator[str]:
    for text in found:
        if most <= 0:
            return
        yield text
        most -= len(text)


def _round_trip(settings: Settings, tokenizer: Any, train: tuple[Path, ...]) -> list[str]:
    """Refuse a tokenizer of our own that changes a text; of one that was taken, say so."""
    try:
        check_round_trip(tokenizer, texts(train))
    except UserError as error:
        if settings.tokenizer not in ("keep", "extend"):
            raise
        return [f"the model's tokenizer does not give every text back: {error}"]
    return []


def _end(tokenizer: Any) -> int:
    """The token between documents.

    Raises:
        UserError: the tokenizer has none.
    """
    for number in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if number is not None:
            return int(number)
    raise UserError("the tokenizer has no token that ends a document; name its eos_token")
