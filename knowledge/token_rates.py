"""Characters of one token, by language and kind of text, and which kind a text is.

The vocabulary decides too: `small` is the rate of vocabularies of about 32,000 tokens, the range
that of 100,000 and more.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.quantities import Range
from knowledge.tables import by_id, csv_rows

SMALL = 60_000
"""Vocabularies below count as small."""
ENGLISH = frozenset((
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with",
    "be", "by", "on", "not", "he", "i", "this", "are", "or", "his", "from", "at", "which",
    "but", "have", "an", "had", "they", "you", "were", "her", "she", "there", "been", "can",
    "my", "your", "we", "how", "what", "do", "does",
))  # fmt: skip
ENGLISH_SHARE = 0.12
"""Share of short common words from which Latin letters are taken for English."""
SYMBOLS = frozenset("{}()[];=<>_/\\|&#*+\"'`$@^~:")
CODE_SHARE, NUMBER_SHARE = 0.09, 0.30
SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0041, 0x024F, "latin"), (0x1E00, 0x1EFF, "latin"),
    (0x0370, 0x03FF, "greek"), (0x0400, 0x052F, "cyrillic"),
    (0x0590, 0x077F, "semitic"), (0x0900, 0x0DFF, "indic"), (0x0E00, 0x0FFF, "indic"),
    (0x1000, 0x109F, "indic"), (0x1100, 0x11FF, "korean"), (0x1780, 0x17FF, "indic"),
    (0x3040, 0x30FF, "japanese"), (0x3130, 0x318F, "korean"), (0x3400, 0x9FFF, "chinese"),
    (0xAC00, 0xD7AF, "korean"),
)  # fmt: skip


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Characters of one token in one kind of text; most texts of the kind lie in the range."""

    id: str
    says: str
    low: float
    mid: float
    high: float
    small: float
    source: str
    status: Literal["read", "remembered"]

    def tokens(self, characters: int, vocabulary: int | None = None) -> Range:
        """Tokens of so many characters of this kind."""
        if vocabulary is not None and vocabulary < SMALL:
            spread = self.small / self.mid
            return Range(
                characters / (self.high * spread),
                characters / self.small,
                characters / (self.low * spread),
            )
        return Range(characters / self.high, characters / self.mid, characters / self.low)


@cache
def table() -> Mapping[str, Rate]:
    """All rates by kind."""
    return by_id(csv_rows(DATA / "token_rates.csv", Rate), "token_rates.csv")


def kind(text: str) -> str:
    """The kind of a text, by its letters, symbols and common words."""
    if not text:
        return "english"
    scripts = Counter(_scripts(text))
    dense = sum(not letter.isspace() for letter in text) or 1
    if sum(letter.isdigit() for letter in text) / dense > NUMBER_SHARE:
        return "numbers"
    if not scripts:
        return "code"
    if scripts["japanese"] > 0.1 * scripts["chinese"] and scripts["japanese"]:
        scripts["japanese"] += scripts.pop("chinese", 0)  # kana beside characters
    script = scripts.most_common(1)[0][0]
    if script != "latin":
        return script
    if sum(letter in SYMBOLS for letter in text) / dense > CODE_SHARE:
        return "code"
    words = text.lower().split()
    common = sum(word.strip(".,;:!?\"'()") in ENGLISH for word in words)
    return "english" if words and common / len(words) >= ENGLISH_SHARE else "latin"


def _scripts(text: str) -> Iterator[str]:
    for letter in text:
        if letter.isalpha():
            place = ord(letter)
            yield next((name for low, high, name in SCRIPTS if low <= place <= high), "other")
