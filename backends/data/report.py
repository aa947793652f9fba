"""What a dataset holds: counts, lengths, duplicates, overlap with another, one sample."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from backends.data.characters import normalised
from backends.data.dataset import Dataset
from backends.data.rows import Labelled, Row, Tagged, input_text, target_text

SAMPLE_LENGTH = 400
FEW = 10
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
PHONE = re.compile(r"(?<![\w.,-])\+?\(?\d[\d ().\-/]{7,18}\d(?![\w-])")
PHONE_DIGITS = range(9, 16)  # E.164 allows fifteen digits


class Quantiles(msgspec.Struct, frozen=True):
    """Lengths at the shares of the rows that the names say."""

    min: int
    median: int
    p90: int
    p99: int
    max: int
    mean: float


class Conflict(msgspec.Struct, frozen=True):
    """One text under several labels."""

    text: str
    labels: tuple[str, ...]
    lines: tuple[int, ...]


class Report(msgspec.Struct, frozen=True):
    """The facts of a dataset.

    `duplicates` counts rows whose text, normalised, an earlier row has; `overlap` rows whose
    text the other dataset has, None where none was given; `emails` and `phones` rows that hold
    what looks like one.
    """

    path: str
    shape: str
    columns: dict[str, str]
    rows: int
    labels: dict[str, int]
    words: Quantiles
    characters: Quantiles
    target_words: Quantiles | None
    duplicates: int
    conflicts: tuple[Conflict, ...]
    conflicting_texts: int
    overlap: int | None
    overlap_lines: tuple[int, ...]
    emails: int
    phones: int
    sample: str
    notes: tuple[str, ...]


def report(dataset: Dataset, other: Dataset | None = None) -> Report:
    """The facts of a dataset, and its overlap with another (training data, say)."""
    texts = [input_text(row) for row in dataset.rows]
    keys = [normalised(text) for text in texts]
    targets = [target for row in dataset.rows if (target := target_text(row)) is not None]
    labels = Counter(row.label for row in dataset.rows if isinstance(row, Labelled))
    labels.update(
        span.label for row in dataset.rows if isinstance(row, Tagged) for span in row.spans
    )
    shared = _lines_in(dataset.rows, keys, other)
    conflicts = _conflicts(dataset.rows, keys)
    emails = sum(EMAIL.search(text) is not None for text in texts)
    phones = sum(_holds_phone(text) for text in texts)
    duplicates = len(keys) - len(set(keys))
    kinds = Counter[str]() if isinstance(dataset.rows[0], Tagged) else labels
    notes = _notes(kinds, duplicates, len(conflicts), shared, emails + phones)
    return Report(
        path=str(dataset.path),
        shape=dataset.shape,
        columns=dataset.columns,
        rows=len(texts),
        labels=dict(labels.most_common()),
        words=quantiles([len(text.split()) for text in texts]),
        characters=quantiles([len(text) for text in texts]),
        target_words=quantiles([len(t.split()) for t in targets]) if targets else None,
        duplicates=duplicates,
        conflicts=tuple(conflicts[:FEW]),
        conflicting_texts=len(conflicts),
        overlap=None if shared is None else len(shared),
        overlap_lines=tuple((shared or [])[:FEW]),
        emails=emails,
        phones=phones,
        sample=rendered(dataset.rows[0]),
        notes=tuple(notes),
    )


def rendered(row: Row) -> str:
    """A row as a person reads it, long texts cut."""
    target = target_text(row)
    name = "label" if isinstance(row, Labelled) else "answer"
    text = f"text: {_cut(input_text(row))}"
    return text if target is None else f"{text}\n{name}: {_cut(target)}"


def quantiles(values: Iterable[int]) -> Quantiles:
    """The quantiles of lengths, each a length that occurs."""
    ranked = sorted(values)

    def at(share: float) -> int:
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]

    mean = sum(ranked) / len(ranked)
    return Quantiles(ranked[0], at(0.5), at(0.9), at(0.99), ranked[-1], mean)


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_LENGTH else f"{text[: SAMPLE_LENGTH - 1]}…"


def _lines_in(rows: Sequence[Row], keys: list[str], other: Dataset | None) -> list[int] | None:
    if other is None:
        return None
    theirs = {normalised(input_text(row)) for row in other.rows}
    return [row.line for row, key in zip(rows, keys, strict=True) if key in theirs]


def _conflicts(rows: Sequence[Row], keys: list[str]) -> list[Conflict]:
    groups: dict[str, list[Labelled]] = {}
    for row, key in zip(rows, keys, strict=True):
        if isinstance(row, Labelled):
            groups.setdefault(key, []).append(row)
    return [
        Conflict(
            _cut(group[0].text),
            tuple(sorted({row.label for row in group})),
            tuple(row.line for row in group),
        )
        for group in groups.values()
        if len({row.label for row in group}) > 1
    ]


def _holds_phone(text: str) -> bool:
    return any(
        sum(character.isdigit() for character in found.group()) in PHONE_DIGITS
        for found in PHONE.finditer(text)
    )


def _notes(
    labels: Counter[str], duplicates: int, conflicts: int, shared: list[int] | None, personal: int
) -> list[str]:
    notes = []
    if len(labels) == 1:
        notes.append(f"one class only ({next(iter(labels))!r}): nothing can be learned from it")
    rare = [label for label, count in labels.items() if count < 2]
    if len(labels) > 1 and rare:
        notes.append(f"{len(rare)} classes have one example: {', '.join(rare[:3])}")
    if duplicates:
        notes.append(f"{duplicates:,} rows repeat an earlier text")
    if conflicts:
        notes.append(f"{conflicts:,} texts stand under more than one label")
    if shared:
        notes.append(f"{len(shared):,} texts are in the other file too: scores on them flatter")
    if personal:
        notes.append(f"{personal:,} rows hold what looks like an e-mail address or a phone number")
    return notes
