"""Which checkpoints of a run are whole and its own.

transformers writes a checkpoint file by file; `seal.json`, written last, says that all are there,
how long they are, and which pickled ones (optimizer, random state) the run itself wrote.
"""

import hashlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from knowledge.errors import UserError

SEAL = "seal.json"
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


class Seal(msgspec.Struct, frozen=True):
    """What a whole checkpoint holds, and what the run had used when it was written."""

    step: int
    data: str
    seconds: float
    peak_bytes: int
    sizes: dict[str, int]
    pickles: dict[str, str]


def seal(folder: Path, data: str, seconds: float, peak_bytes: int) -> None:
    """Declare a checkpoint whole; its pickled arguments, which nothing reads, are dropped."""
    (folder / "training_args.bin").unlink(missing_ok=True)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != SEAL]
    record = Seal(
        step=_step(folder),
        data=data,
        seconds=seconds,
        peak_bytes=peak_bytes,
        sizes={str(path.relative_to(folder)): path.stat().st_size for path in files},
        pickles={
            str(path.relative_to(folder)): _sha256(path) for path in files if path.suffix in PICKLES
        },
    )
    beside = folder / f"{SEAL}.new"
    beside.write_bytes(msgspec.json.encode(record))
    beside.replace(folder / SEAL)


def last(folder: Path) -> tuple[Path, Seal] | None:
    """The newest whole checkpoint below a folder, or None.

    Raises:
        UserError: it holds a pickled file that the run did not write.
    """
    for checkpoint in sorted(_all(folder), key=_step, reverse=True):
        record = _whole(checkpoint)
        if record is not None:
            _refuse_foreign(checkpoint, record)
            return checkpoint, record
    return None


def drop_partial(folder: Path) -> list[str]:
    """Remove checkpoints whose writing was cut off; returns their names."""
    partial = [checkpoint for checkpoint in _all(folder) if _whole(checkpoint) is None]
    for checkpoint in partial:
        shutil.rmtree(checkpoint)
    return [checkpoint.name for checkpoint in partial]


def fingerprint(rows: Sequence[Mapping[str, Any]]) -> str:
    """A hash of the training rows in their order: a resumed run must see the same."""
    return hashed([list(row["input_ids"]), row["labels"]] for row in rows)


def hashed(values: Iterable[Any]) -> str:
    """A hash of plain values in their order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(msgspec.json.encode(value))
    return digest.hexdigest()


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir() and _step(path) >= 0]


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def _whole(checkpoint: Path) -> Seal | None:
    try:
        record = msgspec.json.decode((checkpoint / SEAL).read_bytes(), type=Seal)
        there = all(
            (checkpoint / name).stat().st_size == size for name, size in record.sizes.items()
        )
    except (OSError, msgspec.DecodeError):
        return None
    return record if there else None


def _refuse_foreign(checkpoint: Path, record: Seal) -> None:
    for path in sorted(checkpoint.rglob("*")):
        name = str(path.relative_to(checkpoint))
        if path.suffix in PICKLES and record.pickles.get(name) != _sha256(path):
            raise UserError(
                f"{checkpoint.name} holds the pickled file {name!r}, which this run did not write; "
                f"delete {str(checkpoint)!r} to go on from the checkpoint before"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
