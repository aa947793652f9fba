"""The first pass: raw documents through the sieves, survivors and their sketches to disk.

What has been done is written down every `CHECKPOINT` batches; a resumed pass cuts the files back
to there and goes on with the next document, so nothing is lost and nothing comes twice.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from backends.base import Context
from backends.curation import Settings
from backends.curation.corpus import Line
from backends.curation.reading import Raw, raw_documents
from backends.curation.records import Doc, Drop, Ledger
from backends.curation.sieves import BATCH_BYTES, BATCH_DOCUMENTS, READ, Sieves
from backends.curation.sketches import FILES, Sketcher
from backends.curation.workers import Batch, in_order
from backends.training.meter import Meter

SURVIVORS = "survivors.jsonl"
SKETCHES = "sketches"
STATE = "state.json"
CHECKPOINT = 2  # batches


class State(msgspec.Struct):
    """How far the first pass got: documents taken, sizes of the files, the counts, what it took."""

    taken: int = 0
    survivors: int = 0
    sizes: list[int] = msgspec.field(default_factory=lambda: [0] * len(FILES))
    done: bool = False
    seconds: float = 0.0
    peak_bytes: int = 0
    ledger: Ledger = msgspec.field(default_factory=Ledger)


def sifted(
    source: str, sieves: Sieves, settings: Settings, context: Context, work: Path, meter: Meter
) -> Ledger:
    """Run the first pass, or what is left of it; the counts of all of it.

    Raises:
        Interrupted: the user asked to stop; what was done is kept.
        UserError: the disk is full (what was done is kept), or the path is not there.
    """
    state = _held(work) if context.resume else State()
    meter.carry(state.seconds, state.peak_bytes)
    if not state.done:
        work.mkdir(parents=True, exist_ok=True)
        _pass(source, sieves, settings, context, _Pass(work, state, meter))
    return state.ledger


class _Pass(NamedTuple):
    work: Path
    state: State
    meter: Meter

    def save(self, survivors: IO[bytes], sketcher: Sketcher) -> None:
        """Everything to disk, then the state that says so."""
        work, state, meter = self
        survivors.flush()
        state.survivors = survivors.tell()
        state.sizes = sketcher.flush()
        state.seconds, state.peak_bytes = meter.seconds, meter.peak_bytes
        beside = work / f".{STATE}.new"
        beside.write_bytes(msgspec.json.encode(state))
        beside.replace(work / STATE)


def _pass(source: str, sieves: Sieves, settings: Settings, context: Context, this: _Pass) -> None:
    work, state = this.work, this.state
    _cut_back(work, state)
    batches = _batches(source, settings.separator, state.taken)
    with (
        (work / SURVIVORS).open("ab") as survivors,
        Sketcher(work / SKETCHES, append=True) as sketcher,
        closing(in_order(batches, sieves, settings)) as done,
    ):
        context.progress.start("sifting", 0, "documents")
        for number, one in enumerate(done, start=1):
            _write(one.docs, survivors)
            sketcher.write(one.columns)
            state.taken = one.taken
            state.ledger.merge(one.ledger)
            context.progress.advance(state.taken, kept=sketcher.texts)
            if number % CHECKPOINT == 0:
                this.save(survivors, sketcher)
                context.check_stop(f"after {state.taken:,} documents")
        state.done = True
        this.save(survivors, sketcher)


def _batches(source: str, separator: str | None, before: int) -> Iterator[Batch]:
    """The raw documents after those taken before; what cannot be read is counted here."""
    batch, held, number = Batch(before, [], Ledger()), 0, 0
    for number, found in enumerate(raw_documents(source, separator), start=1):
        if number <= before:
            continue
        if isinstance(found, Raw):
            doc = Doc(found.name, found.text)
            batch.ledger.read.add(len(doc.text.encode("utf-8", "replace")))
            batch.ledger.tally(READ).changed += found.recoded
            batch.ledger.keep(doc, READ)
            batch.docs.append(doc)
            held += len(doc.text)
        else:
            batch.ledger.read.add(0)
            batch.ledger.drop(Doc(found.name, ""), Drop(READ, found.reason))
        if held >= BATCH_BYTES or batch.ledger.read.documents >= BATCH_DOCUMENTS:
            yield batch._replace(taken=number)
            batch, held = Batch(number, [], Ledger()), 0
    if batch.ledger.read.documents:
        yield batch._replace(taken=number)


def _write(docs: Iterable[Doc], file: IO[bytes]) -> None:
    encode = msgspec.json.Encoder().encode
    for doc in docs:
        file.write(encode(Line(doc.name, doc.text, doc.language)) + b"\n")


def _held(work: Path) -> State:
    path = work / STATE
    if not path.is_file():
        return State()
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.DecodeError:
        return State()


def _cut_back(work: Path, state: State) -> None:
    """Files as they were when the state was written."""
    (work / SKETCHES).mkdir(exist_ok=True)
    names = [work / SURVIVORS, *(work / SKETCHES / name for name in FILES)]
    for path, size in zip(names, [state.survivors, *state.sizes], strict=True):
        with path.open("ab") as file:
            file.truncate(size)
