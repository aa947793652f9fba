"""Whether a tune in ABC notation can be read, and its full bars add up to their metre.

Source: https://abcnotation.com/wiki/abc:standard:v2.1, sections 3 and 4. What is checked: header,
notes, rests, lengths, broken rhythm, tuplets, chords, grace notes, bar lines, inline fields.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

FIELD = re.compile(r"^[A-Za-z+]:")
PIECE = re.compile(
    r"""(?P<inline>\[[A-Za-z]:[^\]\n]*\])
    |(?P<text>"[^"\n]*"|![^!\n]*!|\+[a-z]+\+|\{[^}\n]*\})
    |(?P<bar>:*\|[\]|:]*(?:\[?[12](?![0-9]))?|\[\||::+|\[[12](?![0-9]))
    |(?P<tuplet>\(\d(?::\d?)?(?::\d?)?)
    |(?P<chord>\[(?:(?:\^{1,2}|_{1,2}|=)?[A-Ga-gzx][,']*\d*/*\d*)+\](?P<chordlong>\d*/*\d*))
    |(?P<note>(?:\^{1,2}|_{1,2}|=)?[A-Ga-g][,']*|[zxZ])(?P<long>\d*/*\d*)
    |(?P<broken>>{1,3}|<{1,3})
    |(?P<other>[\s()\-.~uvTHLMPSOyJR\\`*$]|%[^\n]*)
    """,
    re.VERBOSE,
)
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # notes in the time of so many, section 4.13
NAMED = {"C": Fraction(1), "C|": Fraction(1)}


class Bar(NamedTuple):
    """One bar: how long it is, how long its metre, and whether it may be shorter.

    The first bar, and bars beside a repeat, a double bar or a part, are shared with another.
    """

    length: Fraction
    metre: Fraction | None
    shared: bool


def fault(text: str) -> str | None:
    """What is wrong with a tune; None where nothing is."""
    try:
        found = list(bars(text))
    except ValueError as error:
        return str(error)
    if not any(bar.length for bar in found):
        return "no note"
    for number, bar in enumerate(found, start=1):
        if bar.metre is None or bar.length == bar.metre:
            continue
        if bar.length > bar.metre or not bar.shared:
            return f"bar {number} is {bar.length} long, not {bar.metre}"
    return None


def bars(text: str) -> Iterator[Bar]:
    """The bars of a tune that have a note, in order.

    Raises:
        ValueError: something that ABC has not, or no key.
    """
    head, body = _parts(text)
    metre, unit = _metre(head.get("M")), _unit(head)
    length, shared, tuplet = Fraction(0), True, (0, Fraction(1))
    last, pending = Fraction(0), Fraction(1)
    for kind, what in _pieces(body):
        if kind == "field":
            if what[0] == "M":
                metre = _metre(what[2:].strip())
            elif what[0] == "L":
                unit = _fraction(what[2:].strip())
            elif what[0] in "PK" and length:
                yield Bar(length, metre, True)
                length, shared = Fraction(0), True
        elif kind == "bar":
            double = what not in ("|", "| ")
            if length:
                yield Bar(length, metre, shared or double)
                length = Fraction(0)
                shared = double
            else:
                shared = shared or double
        elif kind == "tuplet":
            notes = int(what[1])
            tuplet = notes, Fraction(TUPLETS.get(notes, 2), notes)
        elif kind == "broken":
            times = Fraction(1, 2 ** len(what))
            first, pending = (2 - times, times) if what[0] == ">" else (times, 2 - times)
            length += last * (first - 1)
        else:
            left, factor = tuplet
            scale = factor if left else Fraction(1)
            last = _long(what) * unit * scale * pending
            length, pending = length + last, Fraction(1)
            tuplet = max(0, left - 1), factor
    if length:
        yield Bar(length, metre, True)


def _parts(text: str) -> tuple[dict[str, str], list[str]]:
    """The fields before the tune, and its lines; the key ends the head."""
    head: dict[str, str] = {}
    lines = [line for line in text.strip().splitlines() if not line.startswith("%")]
    for number, line in enumerate(lines):
        if not FIELD.match(line):
            break
        head[line[0]] = line[2:].strip()
        if line[0] == "K":
            return head, lines[number + 1 :]
    raise ValueError("no key before the first note")


def _pieces(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Notes (their lengths), bars, tuplets and fields in order.

    Raises:
        ValueError: a sign that ABC has not.
    """
    for line in lines:
        if FIELD.match(line) and not line.startswith("|"):
            yield "field", line
            continue
        at = 0
        while at < len(line):
            match = PIECE.match(line, at)
            if match is None:
                raise ValueError(f"{line[at : at + 8]!r} is no ABC")
            at = match.end()
            if match["bar"]:
                yield "bar", match["bar"]
            elif match["inline"]:
                yield "field", match["inline"][1:-1]
            elif match["tuplet"] or match["broken"]:
                yield (
                    ("tuplet", match["tuplet"]) if match["tuplet"] else ("broken", match["broken"])
                )
            elif match["note"]:
                yield "note", match["long"]
            elif match["chord"]:
                yield "note", match["chordlong"]


def _long(written: str) -> Fraction:
    """A note's length in units: `2`, `3/2`, `/`, `//`, `/4`."""
    above, slash, below = written.partition("/")
    halves = slash + below
    if not halves:
        return Fraction(int(above or 1))
    digits = halves.lstrip("/")
    under = int(digits) if digits else 2 ** (len(halves) - len(digits))
    if under == 0:
        raise ValueError(f"a note of length {written!r}")
    return Fraction(int(above or 1), under)


def _metre(written: str | None) -> Fraction | None:
    """The length of a bar in whole notes; None without a metre."""
    if written is None or written == "none":
        return None
    return NAMED[written] if written in NAMED else _fraction(written)


def _unit(head: dict[str, str]) -> Fraction:
    """The unit of lengths: as the head says, else by the metre (section 3.1.7)."""
    if "L" in head:
        return _fraction(head["L"])
    metre = _metre(head.get("M"))
    return Fraction(1, 16) if metre is not None and metre < Fraction(3, 4) else Fraction(1, 8)


def _fraction(written: str) -> Fraction:
    match = re.fullmatch(r"(\d+)\s*/\s*(\d+)", written)
    if match is None or int(match[2]) == 0:
        raise ValueError(f"{written!r} is no length")
    return Fraction(int(match[1]), int(match[2]))
