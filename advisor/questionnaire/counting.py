"""What files say by themselves: examples, classes, pairs, lengths, tokens of raw text."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from advisor.profile import Profile
from backends import data
from backends.data import Judged, Labelled, Preference, Ranking, Text
from backends.data.languages import language_of
from backends.data.sensitive import sensitive

SPREAD, SHOWN = 40, 50  # texts, and characters of each, by which a language is told
LOOKED_AT = 20_000  # texts searched for personal data
CHARACTERS_PER_TOKEN = 4.0  # English in usual vocabularies; Source: remembered, all vendors' docs


class Contradiction(NamedTuple):
    """An answer that a file speaks against: the key, what was said, what was counted."""

    key: str
    said: Any
    counted: Any
    text: str


def counted(profile: Profile) -> dict[str, Any]:
    """The answers that the profile's files give, by key.

    Raises:
        UserError: a file cannot be read as data, or a folder holds no document.
    """
    counts: dict[str, Any] = {}
    if profile.data is not None:
        counts |= _rows(*_stamp(profile.data))
    if profile.corpus is not None:
        counts |= _tokens(*_stamp(profile.corpus))
    return counts


def filled(profile: Profile) -> Profile:
    """The profile with what its files tell, where nothing else was said."""
    for key, value in counted(profile).items():
        if getattr(profile, key) is None:
            profile = profile.having("counted", **{key: value})
    return profile


def contradictions(profile: Profile) -> tuple[Contradiction, ...]:
    """Where an answer and a file disagree: fewer said than there are, or another number of
    classes. More is no contradiction: examples may still be coming."""
    found = []
    for key, count in counted(profile).items():
        said = getattr(profile, key)
        if key not in NOUNS or said is None or profile.origin.get(key) == "counted":
            continue
        if said < count if key != "n_classes" else said != count:
            file = Path((profile.corpus if key == "unlabelled_tokens" else profile.data) or "")
            noun = NOUNS[key]
            text = f"you said {said:,} {noun} but gave {file.name} with {count:,}"
            found.append(Contradiction(key, said, count, text))
    return tuple(found)


NOUNS = {
    "labelled_examples": "examples",
    "n_classes": "classes",
    "preference_pairs": "preference pairs",
    "unlabelled_tokens": "tokens of raw text",
}


def _stamp(path: str) -> tuple[str, float]:
    """The path and when it changed, so that each state of a file is read once."""
    place = Path(path)
    return path, place.stat().st_mtime if place.exists() else 0.0


@cache
def _rows(path: str, _changed: float) -> dict[str, Any]:
    rows = data.read(path).rows
    seen = _seen([data.input_text(row) for row in rows])
    kind = type(rows[0]) if rows else Text
    if kind in (Preference, Ranking, Judged):
        return {"preference_pairs": len(rows), **seen}
    if kind is Text:
        characters = sum(len(row.text) for row in rows if isinstance(row, Text))
        return {"unlabelled_tokens": round(characters / CHARACTERS_PER_TOKEN), **seen}
    labels = {row.label for row in rows if isinstance(row, Labelled)}
    return {
        "labelled_examples": len(rows),
        **seen,
        **({"n_classes": len(labels)} if labels else {}),
        "tokens_in": _mean_tokens(data.input_text(row) for row in rows),
        "tokens_out": _mean_tokens(data.target_text(row) or "" for row in rows),
    }


def _mean_tokens(texts: Iterable[str]) -> int:
    return max(1, round(mean(len(text) for text in texts) / CHARACTERS_PER_TOKEN))


@cache
def _tokens(path: str, _changed: float) -> dict[str, Any]:
    documents, _ = data.documents(path)
    characters = sum(len(document.text) for document in documents)
    tokens = round(characters / CHARACTERS_PER_TOKEN)
    return {"unlabelled_tokens": tokens, **_seen([document.text for document in documents])}


def _seen(texts: Sequence[str]) -> dict[str, Any]:
    """What the texts show: their language, exact copies, and how many hold personal data."""
    step = max(1, len(texts) // SPREAD)
    spread = " ".join(text[:SHOWN] for text in texts[::step][:SPREAD])
    language = _language(spread)
    return {
        "duplicates": len(texts) - len(set(texts)),
        "personal_data": sum(bool(_personal(text)) for text in texts[:LOOKED_AT]),
        **({"language": language} if language is not None else {}),
    }


def _personal(text: str) -> set[str]:
    return set(sensitive(text))


def _language(text: str) -> str | None:
    try:
        return language_of(text)
    except ImportError:  # without the package the language stays unknown
        return None


def notes(profile: Profile) -> tuple[str, ...]:
    """What the counted files call for, in a sentence each."""
    found = []
    if profile.personal_data:
        found.append(
            f"{profile.personal_data:,} texts hold what looks like personal data or secrets "
            "(e-mail addresses, numbers, keys): settle where they may go before any leaves."
        )
    if profile.duplicates:
        found.append(f"{profile.duplicates:,} texts are exact copies of others.")
    return tuple(found)
