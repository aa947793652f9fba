"""Where sentences begin and end, by punctuation; good enough to cut at and to answer with."""

import re

# A full stop after these is no end of a sentence; nor is one after a single capital (initials).
ABBREVIATIONS = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "no", "vs", "etc", "e.g", "i.e", "fig", "eq", "sec"}
    | {"ch", "vol", "pp", "approx", "dept", "inc", "ltd", "co", "jr", "sr", "al", "cf", "ca"}
)
_END = re.compile(
    r"[.!?…]+[\"'”’)\]]*(?=\s)"  # Western stops, with closing quotes, before a space
    r"|[。！？]+[”’」』）]*"  # CJK stops, which no space follows
    r"|\n(?=\s*(?:[-*+•|]|\d{1,3}[.)])\s?)"  # the next item of a list, the next row of a table
    r"|\n\s*\n"  # a paragraph's end
)
_LAST_WORD = re.compile(r"[^\s(\"'“]+\Z")


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The sentences of `text[start:end]` as (start, end) offsets into `text`, in order.

    White space around a sentence belongs to none; every other character belongs to one.
    """
    end = len(text) if end is None else end
    found: list[tuple[int, int]] = []
    begun = start
    for match in _END.finditer(text, start, end):
        if match.group()[0] == "." and _is_abbreviation(text, begun, match):
            continue
        _add(found, text, begun, match.end())
        begun = match.end()
    _add(found, text, begun, end)
    return found


def _is_abbreviation(text: str, begun: int, match: re.Match[str]) -> bool:
    word = _LAST_WORD.search(text, max(begun, match.start() - 12), match.start())
    if word is None:
        return False
    last = word.group()
    initial = len(last) == 1 and last.isupper()
    # A bare "1." opens a list's item rather than ending a sentence.
    numbering = last.isdigit() and word.start() == begun and len(last) <= 3
    following = text[match.end() : match.end() + 2].strip()
    return initial or numbering or last.lower() in ABBREVIATIONS or following.islower()


def _add(found: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        found.append((start, end))
