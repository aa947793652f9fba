"""The pipeline as datatrove's steps, so that its executors run it: here, on Slurm, on Ray.

Needs the extra `cluster` (datatrove). In three stages: every task reads, sifts and sketches its
share of the files; one task looks for copies among the sketches of all; every task writes what
stays. `Sketch`, `Decide` and `Kept` by themselves remove near copies in any pipeline of datatrove.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor, SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from backends.curation import Settings
from backends.curation.contamination import Evaluation
from backends.curation.copies import KEPT, NEAR, Sketches, verdicts
from backends.curation.corpus import Line, Writer, evaluation_items, lines
from backends.curation.reading import Raw, raw_documents
from backends.curation.records import Doc, Ledger
from backends.curation.sieves import Sieves, batches
from backends.curation.sketches import Sketcher

Where = Literal["here", "slurm", "ray"]
Documents = Iterator[Document]
LEDGER, VERDICT = "ledger.json", "verdict.u8"


class Read(PipelineStep):
    """Documents of files of every format that curation reads; each task takes its share."""

    name = "curation: read"
    type = "reader"

    def __init__(self, source: str, separator: str | None = None) -> None:
        super().__init__()
        self.source, self.separator = source, separator

    def run(self, data: Documents | None, rank: int = 0, world_size: int = 1) -> Documents:
        """The documents of every `world_size`-th file, from the `rank`-th on."""
        for found in raw_documents(self.source, self.separator, share=(rank, world_size)):
            if isinstance(found, Raw):
                yield Document(found.text, found.name)
            else:
                self.stat_update("unread")


class Sift(PipelineStep):
    """The sieves of a run's settings; each task leaves its counts beside its sketches."""

    name = "curation: sift"
    type = "filter"

    def __init__(self, folder: Path, settings: Settings, evaluation: str | None = None) -> None:
        super().__init__()
        self.folder, self.settings, self.evaluation = folder, settings, evaluation

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        """What passes, changed where a step changes it."""
        items = self.evaluation and Evaluation(evaluation_items(self.evaluation))
        sieves, ledger = Sieves(self.settings, items or None), Ledger()
        for batch in batches(Doc(one.id, one.text) for one in data):
            for doc in batch:
                ledger.read.add(len(doc.text.encode("utf-8", "replace")))
            for doc in sieves.sifted(batch, ledger):
                yield Document(doc.text, doc.name, metadata={"language": doc.language})
        folder = _of_rank(self.folder, rank)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LEDGER).write_bytes(msgspec.json.encode(ledger))


class Sketch(PipelineStep):
    """Writes the sketches of the documents that pass; a task's numbering is their order."""

    name = "curation: sketch"
    type = "dedup"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        """The documents as they came."""
        with Sketcher(_of_rank(self.folder, rank)) as sketcher:
            for batch in batches(Doc(one.id, one.text) for one in data):
                with self.track_time("batch"):
                    sketcher.add([doc.text for doc in batch])
                for doc in batch:
                    yield Document(doc.text, doc.name)


class Decide(PipelineStep):
    """Finds the copies among the sketches of all tasks; to be run as one task."""

    name = "curation: decide"
    type = "dedup"

    def __init__(self, folder: Path, *, near: bool = True, least: float = NEAR) -> None:
        super().__init__()
        self.folder, self.near, self.least = folder, near, least

    def run(self, data: Documents | None = None, rank: int = 0, world_size: int = 1) -> Documents:
        """Nothing: the verdicts lie beside the sketches."""
        folders = sorted(path for path in self.folder.glob("rank-*") if path.is_dir())
        with Sketches(folders) as sketches, self.track_time("task"):
            verdict, pairs = verdicts(sketches, near=self.near, least=self.least)
            for _ in pairs:
                self.stat_update("near_copies")
            first = 0
            for folder, count in zip(folders, sketches.counts, strict=True):
                (folder / VERDICT).write_bytes(verdict[first : first + count].tobytes())
                first += count
        yield from ()


class Kept(PipelineStep):
    """Lets through the documents that are no copies; they must come as they were sketched."""

    name = "curation: kept"
    type = "filter"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        """The documents that stay."""
        verdict = np.fromfile(_of_rank(self.folder, rank) / VERDICT, np.uint8)
        for number, doc in enumerate(data):
            if verdict[number] == KEPT:
                yield doc
            else:
                self.stat_update("dropped")


class Write(PipelineStep):
    """Writes documents as JSON lines, in files of a size; each task its own."""

    name = "curation: write"
    type = "writer"

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__()
        self.folder, self.most = folder, most

    def run(self, data: Documents, rank: int = 0, world_size: int = 1) -> Documents:
        """The documents as they came."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with Writer(self.folder, f"{rank:05d}", self.most) as writer:
            for doc in data:
                writer.write(Line(doc.id, doc.text))
                self.stat_update("written")
                yield doc


class ReadBack(PipelineStep):
    """The documents that the task of the same rank wrote."""

    name = "curation: read back"
    type = "reader"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Documents | None, rank: int = 0, world_size: int = 1) -> Documents:
        """The documents in the order in which they were written."""
        for line in lines(sorted(self.folder.glob(f"{rank:05d}-*.jsonl"))):
            yield Document(line.text, line.id)


def stages(
    source: str, folder: Path, settings: Settings, evaluation: str | None = None
) -> list[list[Any]]:
    """The steps of the three stages; the corpus comes to lie in `folder/corpus`."""
    work, survivors, corpus = (folder / name for name in ("work", "survivors", "corpus"))
    most = settings.file_megabytes * 2**20
    sift = [Read(source, settings.separator), Sift(work, settings, evaluation)]
    if settings.duplicates == "keep":
        return [[*sift, Write(corpus, most)]]
    near = settings.duplicates == "near"
    return [
        [*sift, Sketch(work), Write(survivors, most)],
        [Decide(work, near=near, least=settings.resemblance)],
        [ReadBack(survivors), Kept(work), Write(corpus, most)],
    ]


def executors(
    where: Where,
    source: str,
    folder: Path,
    settings: Settings,
    tasks: int,
    evaluation: str | None = None,
    **options: Any,
) -> list[Any]:
    """An executor a stage, each waiting for the one before; run them in order with `.run()`.

    Args:
        tasks: into how many shares the files go.
        options: of datatrove's executor: `workers`; for Slurm `time` and `partition`.
    """
    kind: Any = {"here": LocalPipelineExecutor, "slurm": SlurmPipelineExecutor}.get(where)
    if where == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        kind = RayPipelineExecutor
    made: list[Any] = []
    for number, steps in enumerate(stages(source, folder, settings, evaluation)):
        begin = partial(kind, steps, logging_dir=str(folder / "logs" / str(number)), **options)
        waits = {"depends": made[-1]} if made else {}
        made.append(begin(tasks=1 if number == 1 else tasks, **waits))
    return made


def counted(folder: Path) -> Ledger:
    """The counts of all tasks of the first stage together."""
    ledger = Ledger()
    for path in sorted((folder / "work").glob(f"rank-*/{LEDGER}")):
        ledger.merge(msgspec.json.decode(path.read_bytes(), type=Ledger))
    return ledger


def _of_rank(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}"
