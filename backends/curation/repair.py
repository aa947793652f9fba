"""Texts as they were meant: broken encodings mended, control characters and odd line ends gone."""

import re
import unicodedata

import ftfy

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff\ufffe\uffff]")
_ENDS = re.compile("\r\n?|\u2028|\u2029|\x85")


def repaired(text: str) -> str:
    """The text with mojibake undone line by line (ftfy), in NFC, with `\\n` for every line end.

    Quotation marks, ligatures and widths stay: they are the writer's.
    """
    if "\r" in text or not text.isascii():
        text = _ENDS.sub("\n", text)
    if not text.isascii():
        lines = text.split("\n")
        text = "\n".join(line if line.isascii() else ftfy.fix_encoding(line) for line in lines)
        text = unicodedata.normalize("NFC", text)
    return _CONTROL.sub("", text)
