"""The second pass: survivors without copies, split by document, written as the corpus."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends.curation import Settings
from backends.curation.copies import EXACT, KEPT, Sketches, verdicts
from backends.curation.corpus import Writer, lines
from backends.curation.hashing import mixed
from backends.curation.records import Counts, Doc, Drop, Ledger
from backends.curation.sifting import SKETCHES, SURVIVORS

EXACT_COPIES, NEAR_COPIES = "exact-copies", "near-copies"
NAMED = 2**16  # copies whose original is named; of more only the reason is told


class Written(NamedTuple):
    """Documents and bytes of the two parts."""

    train: Counts
    validation: Counts


def published(work: Path, folder: Path, settings: Settings, seed: int, ledger: Ledger) -> Written:
    """Write the corpus and count what the copies took out."""
    with Sketches([work / SKETCHES]) as sketches:
        verdict, originals = _verdicts(sketches, settings)
        held_back = _held_back(sketches, verdict, settings.validation, seed)
        most = settings.file_megabytes * 2**20
        with Writer(folder, "train", most) as train, Writer(folder, "validation", most) as held:
            for number, line in enumerate(lines([work / SURVIVORS])):
                doc = Doc(line.id, line.text, line.language)
                step = _step(int(verdict[number]))
                if step is not None:
                    ledger.drop(doc, Drop(step, originals.get(number, "a copy of another text")))
                    continue
                for passed in (EXACT_COPIES, NEAR_COPIES):
                    ledger.keep(doc, passed)
                (held if held_back(number) else train).write(line)
    return Written(Counts(train.documents, train.bytes), Counts(held.documents, held.bytes))


def _verdicts(sketches: Sketches, settings: Settings) -> tuple[NDArray[np.uint8], dict[int, str]]:
    if settings.duplicates == "keep":
        return np.zeros(sketches.count, np.uint8), {}
    near = settings.duplicates == "near"
    verdict, pairs = verdicts(sketches, near=near, least=settings.resemblance)
    originals: dict[int, str] = {}
    for pair in pairs:
        if len(originals) < NAMED:
            originals[pair.second] = (
                f"resembles another: survivor {pair.first + 1:,} by {pair.resemblance:.2f}"
            )
    return verdict, originals


def _step(verdict: int) -> str | None:
    if verdict == KEPT:
        return None
    return EXACT_COPIES if verdict == EXACT else NEAR_COPIES


class _HeldBack:
    """Whether a document is held back: by a hash of its words, so that it is the same each time."""

    def __init__(self, sketches: Sketches, below: int, seed: int) -> None:
        self._chunks = _hashes(sketches, seed)
        self._below = below
        self._first, self._hashes = next(self._chunks, (0, np.zeros(0, np.uint64)))

    def __call__(self, number: int) -> bool:
        """Asked in order of the numbers."""
        while number >= self._first + len(self._hashes):
            self._first, self._hashes = next(self._chunks)
        return int(self._hashes[number - self._first]) < self._below


def _held_back(
    sketches: Sketches, verdict: NDArray[np.uint8], share: float, seed: int
) -> _HeldBack:
    """A share of the kept documents; one at least where there are two and a share is wanted."""
    below = int(share * 2**64)
    lowest, kept, under = 2**64, 0, 0
    for first, hashes in _hashes(sketches, seed):
        stays = hashes[verdict[first : first + len(hashes)] == KEPT]
        kept += len(stays)
        if len(stays):
            lowest = min(lowest, int(stays.min()))
            under += int((stays < np.uint64(below)).sum()) if below else 0
    if share and not under and kept > 1:
        below = lowest + 1
    return _HeldBack(sketches, below, seed)


def _hashes(sketches: Sketches, seed: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    for first, rows in sketches.keys(3, 1):
        yield first, mixed(rows[:, 0] ^ np.uint64(seed % 2**63 * 2 + 1))
