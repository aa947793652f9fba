"""The steps that look at one document at a time, in the order in which they are taken.

Each takes a batch of documents and says of each what becomes of it: the document, perhaps
changed, or why it is dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from backends.curation import Settings
from backends.curation.contamination import RUN, Evaluation
from backends.curation.harms import Detector
from backends.curation.measures import Batch, measured
from backends.curation.records import Doc, Drop, Ledger
from backends.curation.repair import repaired
from backends.data.languages import language_of
from backends.data.sensitive import masked, sensitive
from knowledge import filters
from knowledge.filters import Filter

Outcome = Doc | Drop
Sieve = Callable[[Sequence[Doc], Ledger], list[Outcome]]
READ, REPAIR, LANGUAGE, PERSONAL = "read", "repair", "language", "personal"
TOXICITY, BIAS, DECONTAMINATION = "toxicity", "bias", "decontamination"
BATCH_BYTES, BATCH_DOCUMENTS = 2**21, 2048


class Sieves:
    """The chain of a run's settings; the same for one process and for many."""

    def __init__(
        self,
        settings: Settings,
        evaluation: Evaluation | None = None,
        more_abuse: Iterable[str] = (),
    ) -> None:
        self.filters = filters.chosen(settings.filters, settings.without)
        self._settings = settings
        self._evaluation = evaluation
        self._detector = Detector(more_abuse)
        self._chain: list[tuple[tuple[str, ...], Sieve]] = [((REPAIR,), self._repair)]
        self._chain.append(((LANGUAGE,), self._language))
        if self.filters:
            self._chain.append((tuple(row.id for row in self.filters), self._quality))
        if settings.personal != "keep":
            self._chain.append(((PERSONAL,), self._personal))
        self._chain.append(((TOXICITY, BIAS), self._harms))
        if evaluation is not None:
            self._chain.append(((DECONTAMINATION,), self._decontaminate))

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps in order; every filter is one."""
        return tuple(name for names, _ in self._chain for name in names)

    def sifted(self, docs: Sequence[Doc], ledger: Ledger) -> list[Doc]:
        """The documents that pass every step; what happened is counted in the ledger."""
        left = list(docs)
        for names, sieve in self._chain:
            if not left:
                break
            kept: list[Doc] = []
            for before, outcome in zip(left, sieve(left, ledger), strict=True):
                if isinstance(outcome, Drop):
                    ledger.drop(before, outcome)
                    passed = names[: names.index(outcome.step)]
                else:
                    kept.append(outcome)
                    passed = names
                    if outcome.text is not before.text and outcome.text != before.text.strip():
                        ledger.tally(names[0]).changed += 1
                for name in passed:
                    ledger.keep(before, name)
            left = kept
        return left

    def _repair(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        found: list[Outcome] = []
        for doc in docs:
            text = repaired(doc.text).strip() if self._settings.repair else doc.text.strip()
            if not text:
                found.append(Drop(REPAIR, "empty"))
                continue
            harm = self._detector.look(text)
            for group in harm.groups:
                ledger.groups[group] = ledger.groups.get(group, 0) + 1
            for group in harm.abused:
                ledger.abused[group] = ledger.abused.get(group, 0) + 1
            found.append(doc._replace(text=text, harm=harm))
        return found

    def _language(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        wanted = self._settings.languages
        found: list[Outcome] = []
        for doc in docs:
            code = language_of(doc.text)
            ledger.languages[code or "unknown"] = ledger.languages.get(code or "unknown", 0) + 1
            if wanted and code not in wanted:
                found.append(Drop(LANGUAGE, f"{code or 'too short to tell'}: not wanted"))
            else:
                found.append(doc._replace(language=code))
        return found

    def _quality(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        batch = Batch([doc.text for doc in docs])
        found: list[Outcome] = list(docs)
        for row in reversed(self.filters):  # the first that drops a document has the last word
            for number, value in enumerate(measured(batch, row).tolist()):
                doc = docs[number]
                if row.languages and doc.language is not None and doc.language not in row.languages:
                    continue
                reason = out_of_bounds(row, value)
                if reason is not None:
                    found[number] = Drop(row.id, reason)
        return found

    def _personal(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        found: list[Outcome] = []
        for doc in docs:
            if self._settings.personal == "mask":
                text, kinds = masked(doc.text)
                found.append(doc._replace(text=text) if kinds else doc)
            else:
                kinds = sensitive(doc.text)
                named = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
                found.append(Drop(PERSONAL, f"personal data: {named}") if kinds else doc)
            for kind, count in kinds.items():
                ledger.personal[kind] = ledger.personal.get(kind, 0) + count
        return found

    def _harms(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        most = self._settings.abuse_per_1000_words
        found: list[Outcome] = []
        for doc in docs:
            harm = doc.harm
            if most is not None and harm.abuse_rate > most:
                said = f"{harm.abuse} words of abuse in {harm.words}"
                found.append(Drop(TOXICITY, f"abuse: {said}, more than {most:g} in a thousand"))
            elif self._settings.bias and harm.abused:
                found.append(Drop(BIAS, f"abuse beside: {', '.join(sorted(harm.abused))}"))
            else:
                found.append(doc)
        return found

    def _decontaminate(self, docs: Sequence[Doc], ledger: Ledger) -> list[Outcome]:
        evaluation = self._evaluation
        assert evaluation is not None
        marked = evaluation.marked([doc.text for doc in docs]).tolist()
        drop = Drop(DECONTAMINATION, f"shares {RUN} words in a row with an evaluation item")
        return [drop if hit else doc for doc, hit in zip(docs, marked, strict=True)]


def out_of_bounds(row: Filter, value: float) -> str | None:
    """Why a measure's value fails a filter, in words; None where it passes."""
    if row.least is not None and value < row.least:
        return f"{row.measure} below {row.least:g}: {value:.3g}"
    if row.most is not None and value > row.most:
        return f"{row.measure} above {row.most:g}: {value:.3g}"
    return None


def batches(docs: Iterable[Doc]) -> Iterator[list[Doc]]:
    """Documents in batches that fit in memory whatever their number and length."""
    batch: list[Doc] = []
    held = 0
    for doc in docs:
        batch.append(doc)
        held += len(doc.text)
        if held >= BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
