"""Documents on their way through the pipeline, and what is told of it: counts and samples."""

from hashlib import blake2b
from typing import NamedTuple

import msgspec

from backends.curation.harms import NOTHING, Harm
from backends.data.sensitive import masked

SAMPLES = 3  # of each kind and step
SHOWN = 300  # characters of a sample


class Doc(NamedTuple):
    """A document; `harm` is what it says of groups of people, once that has been looked at."""

    name: str
    text: str
    language: str | None = None
    harm: Harm = NOTHING


class Drop(NamedTuple):
    """Which step takes a document out, and why, in words with the value seen."""

    step: str
    reason: str


class Sample(msgspec.Struct, frozen=True, order=True):
    """A document as a report shows it: those of the lowest hash are shown, whatever the order."""

    hash: str
    name: str
    text: str
    reason: str = ""


class Counts(msgspec.Struct):
    """Documents and their size in UTF-8."""

    documents: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more."""
        self.documents += 1
        self.bytes += size

    def merge(self, other: "Counts") -> None:
        """Count what another counted."""
        self.documents += other.documents
        self.bytes += other.bytes


class Tally(msgspec.Struct):
    """What one step took out, with samples of both."""

    dropped: Counts = msgspec.field(default_factory=Counts)
    changed: int = 0
    dropped_samples: list[Sample] = []
    kept_samples: list[Sample] = []
    reasons: dict[str, int] = {}
    groups: dict[str, int] = {}


class Ledger(msgspec.Struct):
    """The counts of a whole pipeline, by step; two of parts of a corpus add up to one of both."""

    read: Counts = msgspec.field(default_factory=Counts)
    tallies: dict[str, Tally] = {}
    languages: dict[str, int] = {}
    personal: dict[str, int] = {}
    groups: dict[str, int] = {}
    abused: dict[str, int] = {}

    def tally(self, step: str) -> Tally:
        """A step's counts, made where it has none yet."""
        return self.tallies.setdefault(step, Tally())

    def drop(self, doc: Doc, drop: Drop) -> None:
        """A step took a document out."""
        tally = self.tally(drop.step)
        tally.dropped.add(len(doc.text.encode("utf-8", "replace")))
        kind = drop.reason.split(":")[0]
        tally.reasons[kind] = tally.reasons.get(kind, 0) + 1
        for group in doc.harm.groups:
            tally.groups[group] = tally.groups.get(group, 0) + 1
        _keep_lowest(tally.dropped_samples, doc, drop.reason)

    def keep(self, doc: Doc, step: str) -> None:
        """A step let a document through: offered as a sample."""
        _keep_lowest(self.tally(step).kept_samples, doc, "")

    def merge(self, other: "Ledger") -> None:
        """Count what another counted."""
        self.read.merge(other.read)
        for step, theirs in other.tallies.items():
            own = self.tally(step)
            own.dropped.merge(theirs.dropped)
            own.changed += theirs.changed
            own.dropped_samples = sorted(own.dropped_samples + theirs.dropped_samples)[:SAMPLES]
            own.kept_samples = sorted(own.kept_samples + theirs.kept_samples)[:SAMPLES]
            _add(own.reasons, theirs.reasons)
            _add(own.groups, theirs.groups)
        for name in ("languages", "personal", "groups", "abused"):
            _add(getattr(self, name), getattr(other, name))


def _add(own: dict[str, int], theirs: dict[str, int]) -> None:
    for key, count in theirs.items():
        own[key] = own.get(key, 0) + count


def _keep_lowest(samples: list[Sample], doc: Doc, reason: str) -> None:
    key = blake2b(doc.name.encode("utf-8", "replace"), digest_size=6).hexdigest()
    if len(samples) == SAMPLES and key >= samples[-1].hash:
        return
    text = masked(doc.text[: 2 * SHOWN])[0][:SHOWN]
    samples.append(Sample(key, doc.name, text, reason))
    samples.sort()
    del samples[SAMPLES:]
