"""Tunes of the Nottingham set, all written in one way; in other keys; what another parser says.

Half of the set is written in quarters, half in eighths, with line breaks, slurs and ornaments as
each author pleased. Here all are brought to eighths without them; notes, rests, chord symbols,
ties, tuplets, beams, bars, repeats, metres and keys stay as they are.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch

from backends.scratch import Settings, drawing, finished, sequences
from backends.scratch.sequences import abc

UNIT = Fraction(1, 8)
TEMPERATURES = (0.5, 0.6, 0.7, 0.8)
CHOOSING, JUDGED = 101, 102  # seeds of the draws that choose a temperature, and of the others
LONGEST = 508  # characters of a tune that is drawn
LETTERS = "CDEFGAB"
SHARP_ORDER = "FCGDAEB"
MAJOR = {"Bb": -2, "F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4}  # sharps of each key
MINOR = {"Gm": -2, "Dm": -1, "Am": 0, "Em": 1, "Bm": 2, "F#m": 3, "C#m": 4}
SHARPS = {**MAJOR, **MINOR, "B": 5}
SIGNS = {"__": -2, "_": -1, "=": 0, "^": 1, "^^": 2}
PITCH = re.compile(
    r"""(?P<sign>\^{1,2}|_{1,2}|=)?(?P<letter>[A-Ga-g])(?P<octave>[,']*)
    |"(?P<root>[A-G])(?P<alter>[#b]?)(?P<rest>[^"]*)"
    |^(?P<field>[A-Z]):(?P<value>.*)$
    """,
    re.VERBOSE | re.MULTILINE,
)


class Tunes(NamedTuple):
    """To learn from: as they are, and in every key; and held out."""

    plain: list[str]
    every_key: list[str]
    held: list[str]


def tunes(source: Path) -> Tunes:
    """Jigs and reels of the cleaned set without titles, every tenth held out.

    What our own check finds wrong is not learnt from; all that is held out stays.
    """
    texts: list[str] = []
    for path in sorted(source.rglob("*.abc")):
        if "ABC_cleaned" in str(path) and path.name.startswith(("jigs", "reels")):
            texts += re.split(r"\n\s*\n", path.read_text())
    found = sorted({tune for text in texts if (tune := in_eighths(text))})
    plain = [tune for n, tune in enumerate(found) if n % 10 and not sequences.fault("abc", tune)]
    return Tunes(plain, [other for tune in plain for other in in_all_keys(tune)], found[::10])


def written(found: list[str], path: Path) -> Path:
    """Texts as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
    return path


def in_eighths(text: str) -> str:
    """A tune with metre, unit, key and music alone; "" where there is none, or one we cannot read.

    The latter are a few with chords of unequal notes.
    """
    head: dict[str, str] = {}
    music: list[str] = []
    for line in text.strip().splitlines():
        field, value = line[:1], line[2:].strip()
        if line.startswith("%"):
            continue
        if not abc.FIELD.match(line):
            try:
                music.append("".join(_rewritten(line.rstrip("\\ "), abc._unit(head) / UNIT)))
            except ValueError:
                return ""
        elif field in "MLK":
            head[field] = value
            if music and field in "MK":
                music.append(f"\n{field}:{value}\n")
    if "K" not in head or not music:
        return ""
    first = re.search(r"(?m)^M:(.*)", text), re.search(r"(?m)^K:(.*)", text)
    metre, key = ("" if match is None else match[1].strip() for match in first)
    tune = re.sub(r" *\n[ \n]*", "\n", re.sub(" +", " ", " ".join(music))).strip()
    return f"X:1\nM:{metre or '4/4'}\nL:1/8\nK:{key}\n{tune}"


def _rewritten(line: str, times: Fraction) -> Iterator[str]:
    """The pieces of a line with all lengths multiplied; slurs and ornaments left out.

    Raises:
        ValueError: a sign that we cannot read.
    """
    at = 0
    while at < len(line):
        match = abc.PIECE.match(line, at)
        if match is None:
            raise ValueError(f"{line[at : at + 8]!r} is no ABC")
        at = match.end()
        if match["note"] or match["chord"]:
            long = match["long"] if match["note"] else match["chordlong"]
            yield match[0][: len(match[0]) - len(long)] + _long(abc._long(long) * times)
        elif match["text"]:
            yield match[0] if match[0].startswith('"') else ""
        elif match["other"]:
            yield match[0] if match[0] in " -" else ""
        else:
            yield match[0]


def _long(value: Fraction) -> str:
    if value == 1:
        return ""
    return str(value)  # 2, 3/2, 1/2


def in_all_keys(tune: str) -> list[str]:
    """A tune in each of the seven usual keys of its mode, moved by a fourth at most."""
    key = re.search(r"(?m)^K:(\S*)", tune)
    assert key is not None
    if key[1] not in SHARPS:
        return [tune]
    found = []
    for goal in MINOR if key[1].endswith("m") else MAJOR:
        fifths = SHARPS[goal] - SHARPS[key[1]]
        steps = (4 * fifths + 3) % 7 - 3  # a fifth is four letters; the nearer way
        moved = _moved(tune, steps, fifths)
        found += [moved] if moved else []
    return found


def _moved(tune: str, steps: int, fifths: int) -> str:
    """A tune some letters higher, its keys so many fifths on; "" where that cannot be written."""
    sharps = {"before": 0, "after": 0}

    def new(match: re.Match[str]) -> str:
        if match["field"] == "K":
            sharps["before"] = SHARPS[match["value"]]
            sharps["after"] = sharps["before"] + fifths
            names = MINOR if match["value"].endswith("m") else MAJOR
            return "K:" + next(name for name, n in names.items() if n == sharps["after"])
        if match["field"]:
            return match[0]
        letter = (match["root"] or match["letter"]).upper()
        place = LETTERS.index(letter) + steps
        goal = LETTERS[place % 7]
        other = _altered(goal, sharps["after"]) - _altered(letter, sharps["before"])
        if match["root"]:
            alter = {"#": 1, "b": -1, "": 0}[match["alter"]] + other
            return f'"{goal}{({1: "#", -1: "b", 0: ""})[alter]}{match["rest"]}"'
        octave = match["letter"].islower() + match["octave"].count("'")
        octave += place // 7 - match["octave"].count(",")
        sign = match["sign"]
        if sign is not None:
            sign = next(name for name, n in SIGNS.items() if n == SIGNS[match["sign"]] + other)
        note = goal.lower() + "'" * (octave - 1) if octave > 0 else goal + "," * -octave
        return (sign or "") + note

    try:
        return PITCH.sub(new, tune)
    except (KeyError, StopIteration):  # a key or a sign beyond the usual ones
        return ""


def _altered(letter: str, sharps: int) -> int:
    """What a key signature does to a letter: 1 sharp, -1 flat, 0."""
    place = SHARP_ORDER.index(letter)
    return int(place < sharps) - int(place >= 7 + sharps)


def drawn(model: finished.Finished, temperature: float, count: int, seed: int) -> list[str]:
    """Tunes that a decoder writes, none drawn again or left out."""
    torch.manual_seed(seed)
    settings = Settings(sample_tokens=LONGEST, prompt="X:1\n", temperature=temperature)
    end = [int(model.tokenizer.eos_token_id)]
    return drawing.drawn(model.model, model.tokenizer, settings, end, count)


def body(tune: str) -> str:
    """The notes alone, to find copies."""
    return re.sub(r"\s", "", re.sub(r"(?m)^[A-Z]:.*$", "", tune))


def other_fault(tune: str) -> str | None:
    """What music21 finds wrong: it cannot read it, or a full bar does not add up."""
    import music21

    try:
        score = music21.converter.parse(tune, format="abc")
    except Exception as error:
        return f"not read: {error}"
    bars = list(score.recurse().getElementsByClass(music21.stream.Measure))
    if not list(score.recurse().notes):
        return "no notes"
    for number, bar in enumerate(bars):
        want = bar.barDuration.quarterLength
        have = bar.duration.quarterLength
        edge = number in (0, len(bars) - 1) or shared(bars, number)
        if have > want or (have < want and not edge):
            return f"bar {number}: {have} of {want}"
    return None


def shared(bars: list[Any], number: int) -> bool:
    """Whether a bar stands beside a repeat or double bar, so that it may be part of one."""
    near = [bars[number].rightBarline, bars[number].leftBarline, bars[number - 1].rightBarline]
    if number + 1 < len(bars):
        near.append(bars[number + 1].leftBarline)
    return any(line is not None and line.type != "regular" for line in near)


def ngram_bits(train: list[str], held: list[str], order: int) -> float:
    """Bits for each character of an n-gram model, interpolated as Witten and Bell do.

    Source: https://doi.org/10.1109/18.87000.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    letters = {letter for text in train for letter in text} | {"\0"}
    for text in train:
        padded = "\0" * order + text + "\0"
        for at in range(order, len(padded)):
            for back in range(order):
                counts[padded[at - back : at]][padded[at]] += 1
    bits, said = 0.0, 0
    for text in held:
        padded = "\0" * order + text + "\0"
        for at in range(order, len(padded)):
            chance = 1 / (len(letters) + 1)
            for back in range(order):
                seen = counts.get(padded[at - back : at])
                if seen:
                    total, kinds = seen.total(), len(seen)
                    chance = (seen[padded[at]] + kinds * chance) / (total + kinds)
            bits -= math.log2(chance)
        said += len(text)
    return bits / said
