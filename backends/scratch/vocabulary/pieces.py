"""Long texts in pieces that a tokenizer makes the same tokens of as of the whole."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

PIECE = 2**16  # characters; time and memory of one text grow faster than its length
ANYWHERE = re.compile("")
BEFORE_SPACE = re.compile(r"(?<=\S)(?=[ \n])")


class Piece(NamedTuple):
    """A part of a text, and whether the text ends with it."""

    text: str
    last: bool


def cuts(tokenizer: Any) -> re.Pattern[str] | None:
    """Where a text may be cut with no token changed; None where it is not known.

    Characters and bytes: anywhere. Byte-level pieces, whose words end before a space that follows
    something else (the pattern of https://github.com/openai/gpt-2, encoder.py): there.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    words, model = described["pre_tokenizer"], described["model"]
    beside = any(not token["special"] for token in described["added_tokens"])
    bytewise = words is not None and words["type"] == "ByteLevel" and not words["add_prefix_space"]
    if described["normalizer"] is not None or beside or not (words is None or bytewise):
        return None
    if bytewise and words["use_regex"]:
        return BEFORE_SPACE
    alone = model["type"] == "BPE" and not model["merges"]
    joins = ("continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "ignore_merges")
    return ANYWHERE if alone and not any(model.get(key) for key in joins) else None


def pieces(texts: Iterable[str], cut: re.Pattern[str] | None, size: int = PIECE) -> Iterator[Piece]:
    """The texts, each in pieces of `size` characters or a little more, cut where it may be."""
    for text in texts:
        start = 0
        while cut is not None and len(text) - start > size:
            found = cut.search(text, start + size)
            if found is None:
                break
            yield Piece(text[start : found.start()], last=False)
            start = found.start()
        yield Piece(text[start:], last=True)
