"""The first pass: raw documents through the sieves, survivors and their sketches to disk.

What has been done is written down every `CHECKPOINT` batches; a resumed pass cuts the files back
to there and goes on with the next document, so nothing is lost and nothing comes twice.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from backends.base import Context
from backends.curation.corpus import Line
from backends.curation.reading import Raw, raw_documents
from backends.curation.records import Doc, Drop, Ledger
from backends.curation.sieves import READ, Sieves, batches
from backends.curation.sketches import FILES, Sketcher
from knowledge.errors import UserError

SURVIVORS = "survivors.jsonl"
SKETCHES = "sketches"
STATE = "state.json"
CHECKPOINT = 16  # batches


class State(msgspec.Struct):
    """How far the first pass got: documents taken, sizes of the files, the counts."""

    taken: int = 0
    survivors: int = 0
    sizes: list[int] = msgspec.field(default_factory=lambda: [0] * len(FILES))
    done: bool = False
    ledger: Ledger = msgspec.field(default_factory=Ledger)


def sifted(
    source: str, sieves: Sieves, separator: str | None, context: Context, work: Path
) -> Ledger:
    """Run the first pass, or what is left of it; the counts of all of it.

    Raises:
        Interrupted: the user asked to stop; what was done is kept.
        UserError: the disk is full (what was done is kept), or the path is not there.
    """
    work.mkdir(parents=True, exist_ok=True)
    state = _held(work) if context.resume else State()
    if state.done:
        return state.ledger
    try:
        _pass(source, sieves, separator, context, work, state)
    except OSError as error:
        raise UserError(
            f"cannot write in {str(work)!r}: {error.strerror}; make room and run with --resume"
        ) from None
    return state.ledger


def _pass(
    source: str, sieves: Sieves, separator: str | None, context: Context, work: Path, state: State
) -> None:
    _cut_back(work, state)
    docs = _numbered(source, separator, state)
    with (
        (work / SURVIVORS).open("ab") as survivors,
        Sketcher(work / SKETCHES, append=True) as sketcher,
    ):
        context.progress.start("sifting", 0, "documents")
        for number, batch in enumerate(batches(docs), start=1):
            left = sieves.sifted(batch, state.ledger)
            _write(left, survivors)
            sketcher.add([doc.text for doc in left])
            context.progress.advance(state.taken, kept=state.survivors)
            if number % CHECKPOINT == 0:
                _save(work, state, survivors, sketcher)
                context.check_stop(f"after {state.taken:,} documents")
        state.done = True
        _save(work, state, survivors, sketcher)


def _numbered(source: str, separator: str | None, state: State) -> Iterator[Doc]:
    """The raw documents after those taken before; what cannot be read is counted here."""
    before = state.taken
    for number, found in enumerate(raw_documents(source, separator), start=1):
        if number <= before:
            continue
        state.taken = number
        if isinstance(found, Raw):
            doc = Doc(found.name, found.text)
            state.ledger.read.add(len(doc.text.encode("utf-8", "replace")))
            if found.recoded:
                state.ledger.tally(READ).changed += 1
            state.ledger.keep(doc, READ)
            yield doc
        else:
            state.ledger.read.add(0)
            state.ledger.drop(Doc(found.name, ""), Drop(READ, found.reason))


def _write(docs: Iterable[Doc], file: IO[bytes]) -> None:
    encode = msgspec.json.Encoder().encode
    for doc in docs:
        file.write(encode(Line(doc.name, doc.text, doc.language)) + b"\n")


def _save(work: Path, state: State, survivors: IO[bytes], sketcher: Sketcher) -> None:
    survivors.flush()
    state.survivors = survivors.tell()
    state.sizes = sketcher.flush()
    beside = work / f".{STATE}.new"
    beside.write_bytes(msgspec.json.encode(state))
    beside.replace(work / STATE)


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
