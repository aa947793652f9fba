"""Spans of a text, from tags of its words or from places in it; and back to tags of tokens."""

import itertools
from collections.abc import Sequence
from typing import Any

from backends.data.rows import Span
from backends.data.turns import BadCell

OUTSIDE = "O"
BEGINS, GOES_ON = ("B", "S", "U"), ("I", "E", "L", "M")  # of BIO, BIOES, BILOU, BMES


def of_tags(words: Sequence[str], tags: Any) -> tuple[str, tuple[Span, ...]]:
    """The words joined by spaces, and the spans that tags like B-CITY and I-CITY mark in it.

    A tag without such a beginning (CITY) marks a word, and goes on where it is repeated.

    Raises:
        BadCell: the tags are no list of as many words; numbers cannot be told what they mean.
    """
    listed = tags.split() if isinstance(tags, str) else tags
    if not isinstance(listed, list) or len(listed) != len(words):
        size = len(listed) if isinstance(listed, list) else 0
        raise BadCell(f"holds {size} tags for {len(words)} words")
    if not all(isinstance(tag, str) for tag in listed):
        raise BadCell("holds numbers for tags; write their names, as B-CITY")
    spans: list[Span] = []
    open_tag: str | None = None
    place = 0
    for word, tag in zip(words, listed, strict=True):
        begins, label = parted(tag)
        end = place + len(word)
        if label is None:
            open_tag = None
        elif label == open_tag and not begins:
            spans[-1] = Span(spans[-1].start, end, label)
        else:
            spans.append(Span(place, end, label))
            open_tag = label
        place = end + 1
    return " ".join(words), tuple(spans)


def parted(tag: str) -> tuple[bool, str | None]:
    """Whether a tag begins a span, and the span's label; None for a word outside of any."""
    if tag in (OUTSIDE, "", "_"):
        return False, None
    head, dash, label = tag.partition("-")
    if dash and label and head.upper() in (*BEGINS, *GOES_ON):
        return head.upper() in BEGINS, label
    return False, tag


def of_values(text: str, value: Any) -> tuple[Span, ...]:
    """The spans of a cell: objects of start, end and label, or lists [start, end, label].

    Raises:
        BadCell: one is of another form, outside the text, empty, or over another.
    """
    if not isinstance(value, list):
        raise BadCell("is no list of spans")
    spans = sorted((_span(text, one) for one in value), key=lambda one: (one.start, one.end))
    for before, after in itertools.pairwise(spans):
        if after.start < before.end:
            raise BadCell(
                f"has {after.label!r} at {after.start} over {before.label!r} at {before.start}"
            )
    return tuple(spans)


def _span(text: str, value: Any) -> Span:
    if isinstance(value, dict):
        name = next((key for key in ("label", "type", "entity", "tag") if key in value), "label")
        value = [value.get("start"), value.get("end"), value.get(name)]
    if not isinstance(value, list) or len(value) != 3:
        raise BadCell("has a span that is no {start, end, label}")
    start, end, label = value
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label:
        raise BadCell(f"has the span {str(value)[:40]}: two whole numbers and a label are needed")
    if not 0 <= start < end <= len(text):
        raise BadCell(f"has a span from {start} to {end} in a text of {len(text)} characters")
    return Span(start, end, label)
