"""Tokenizers of four kinds, each of which gives every text back as it was.

Pieces come first, special tokens last, so that the byte b has id b among bytes, and characters
stand in the order of their code points.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from knowledge.errors import UserError, unknown

KINDS = ("bpe", "unigram", "bytes", "characters")
END = "<|endoftext|>"
PADDING = "<|padding|>"
MASK = "<|mask|>"
UNKNOWN = "<|unknown|>"
SENTINEL = "<extra_id_{}>"  # the name T5 gave them: https://arxiv.org/abs/1910.10683, section 3.1.4
BYTES = 256
OFTEN = 2  # times that a pair must occur to become a piece
LONGEST_PIECE = 32  # characters; longer ones are rulers and tables, not language
PART = 2**16  # characters; longer texts are learned from in parts, so memory stays flat
ENOUGH = 0.98  # of the pieces asked for: the unigram trainer prunes in steps and may overshoot


def trained(
    kind: str,
    texts: Iterable[str],
    size: int | None = None,
    *,
    masked: bool = False,
    sentinels: int = 0,
    fewer: bool = False,
) -> PreTrainedTokenizerFast:
    """A tokenizer made from texts.

    Args:
        kind: `bpe` (byte-level, https://aclanthology.org/P16-1162), `unigram` (over bytes,
            https://arxiv.org/abs/1804.10959), `bytes` (256 of them, learns nothing), `characters`
            (those seen; another one later is `<|unknown|>`).
        texts: gone through once; not held in memory.
        size: tokens in all, special ones included; `bytes` and `characters` need none.
        masked: with a token to hide others by, for masked models.
        sentinels: tokens that stand for a span taken out, for span corruption.
        fewer: where the texts support fewer pieces than the size has, those are taken.
    Raises:
        UserError: an unknown kind, no text, a size too small, or one larger than the texts support.
    """
    if kind not in KINDS:
        raise unknown("kind of tokenizer", kind, KINDS)
    special = [END, PADDING, *([MASK] if masked else []), *map(SENTINEL.format, range(sentinels))]
    if kind == "characters":
        special.append(UNKNOWN)
        made = _characters(texts)
    elif kind == "bytes":
        made = _bytes()
    else:
        made = _learned(kind, _parts(texts), _pieces(kind, size, len(special)), fewer)
    made.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=END,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
        **({"mask_token": MASK} if masked else {}),
        **({"unk_token": UNKNOWN} if kind == "characters" else {}),
    )


def kept(name: str | Path) -> Any:
    """The tokenizer of a folder or hub id, as it is.

    Raises:
        UserError: there is none, or it has no fast form, which counts and extensions need.
    """
    try:
        found = AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError, KeyError) as error:
        said = str(error).splitlines()[0][:120]
        raise UserError(
            f"no tokenizer {str(name)!r} ({said}); give a folder with tokenizer.json or a hub id"
        ) from None
    if not found.is_fast:
        raise UserError(
            f"the tokenizer of {str(name)!r} has no tokenizer.json; convert it with transformers"
        )
    return found


def _pieces(kind: str, size: int | None, special: int) -> int:
    if size is None:
        raise UserError(f"a {kind} tokenizer needs a size; 8,000 to 50,000 are usual")
    least = BYTES + special
    if size <= least:
        raise UserError(
            f"a {kind} tokenizer of {size:,} tokens has no room beside {BYTES} bytes and {special} "
            f"special tokens; give more than {least}, or the kind 'bytes'"
        )
    return size - special


def _learned(kind: str, texts: Iterable[str], size: int, fewer: bool) -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    settings: dict[str, Any] = {
        "vocab_size": size,
        "initial_alphabet": alphabet,
        "show_progress": False,
    }
    counted = _Counted(texts)
    made: Any
    trainer: Any
    if kind == "bpe":
        made = Tokenizer(models.BPE())
        trainer = trainers.BpeTrainer(
            min_frequency=OFTEN, max_token_length=LONGEST_PIECE, **settings
        )
    else:
        made = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(max_piece_length=LONGEST_PIECE // 2, **settings)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(counted, trainer)
    counted.refuse_nothing()
    found = made.get_vocab_size()
    if not fewer and found < (size if kind == "bpe" else int(ENOUGH * size)):
        raise UserError(
            f"{counted.characters:,} characters of text support {found:,} pieces, not the "
            f"{size:,} asked for; ask for a vocabulary of {found} or less, or give more text"
        )
    return made


def _bytes() -> Any:
    letters = _letters()
    made = Tokenizer(models.BPE(vocab={letters[b]: b for b in range(BYTES)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def _letters() -> list[str]:
    """The printable letter that stands for each byte in byte-level pieces.

    Bytes that are printable in Latin-1 stand for themselves, the others in order for the letters
    from U+0100 on. Source: https://github.com/openai/gpt-2, encoder.py.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(rest)) for byte in range(BYTES)]


def _characters(texts: Iterable[str]) -> Any:
    counted = _Counted(texts)
    seen: set[str] = set()
    for text in counted:
        seen.update(text)
    counted.refuse_nothing()
    vocabulary = {character: number for number, character in enumerate(sorted(seen))}
    vocabulary[UNKNOWN] = len(vocabulary)
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN))
    made.decoder = decoders.Fuse()
    return made


class _Counted:
    """Texts as they pass, and how many characters they had together."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.characters = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.characters += len(text)
            yield text

    def refuse_nothing(self) -> None:
        """Raise where no character came by."""
        if not self.characters:
            raise UserError("no text to learn a vocabulary from: every document is empty")


def _parts(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), PART):
            yield text[start : start + PART]
