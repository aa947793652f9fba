"""A curated corpus on disk: JSON lines with `text`, cut into files, and how to read it again."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from backends.curation.reading import Raw, raw_documents
from backends.data.characters import lines_of
from knowledge.errors import UserError

FOLDER = "corpus"
REPORT = "report.json"


class Line(msgspec.Struct, omit_defaults=True):
    """One document of a corpus."""

    id: str
    text: str
    language: str | None = None


class Curated(msgspec.Struct, frozen=True):
    """What a curation step made: files of documents, and perhaps a tokenizer with tokens."""

    train: tuple[Path, ...]
    validation: tuple[Path, ...]
    tokenizer: Path | None
    tokens_train: Path | None
    tokens_validation: Path | None


def curated(folder: Path) -> Curated:
    """What lies in a finished curation step's folder (or in its `corpus/`).

    Raises:
        UserError: nothing was curated there.
    """
    corpus = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    if not (corpus / REPORT).is_file():
        raise UserError(f"no curated corpus in {str(folder)!r}; run a step of method curate first")

    def there(name: str) -> Path | None:
        return corpus / name if (corpus / name).is_dir() else None

    train, validation = curated_parts(corpus)
    return Curated(
        train=train,
        validation=validation,
        tokenizer=there("tokenizer"),
        tokens_train=there("tokens/train"),
        tokens_validation=there("tokens/validation"),
    )


def curated_parts(corpus: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The files of a corpus to train on and those held back, in order."""
    train, validation = (
        tuple(sorted(corpus.glob(f"{part}-*.jsonl"))) for part in ("train", "validation")
    )
    return train, validation


def texts(paths: Iterable[Path]) -> Iterator[str]:
    """The texts of files of a corpus, one at a time."""
    for line in lines(paths):
        yield line.text


def lines(paths: Iterable[Path]) -> Iterator[Line]:
    """The documents of files of a corpus, one at a time.

    Raises:
        UserError: a file is cut short or was changed: file and line are named.
    """
    decoder = msgspec.json.Decoder(Line)
    for path in paths:
        for number, line in lines_of(path):
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError as error:
                raise UserError(
                    f"{str(path)!r}, line {number}: {error}; the file was cut short or changed, "
                    "curate it again"
                ) from None


def evaluation_items(path: str) -> Iterator[str]:
    """The texts of an evaluation set: all string cells of a row count, or a document's text.

    Raises:
        UserError: there is no such path, or no text in it.
    """
    count = 0
    for found in raw_documents(path, rows_whole=True):
        if isinstance(found, Raw):
            count += 1
            yield found.text
    if not count:
        raise UserError(f"no text in the evaluation set {path!r} to keep out of the corpus")


class Writer:
    """Documents into files of a size: `<part>-00000.jsonl` and so on."""

    def __init__(self, folder: Path, part: str, most: int) -> None:
        self.documents = self.bytes = 0
        self._folder, self._part, self._most = folder, part, most
        self._file: IO[bytes] | None = None
        self._number = 0
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: Line) -> None:
        """Append a document; a full file is closed and the next begun."""
        if self._file is None:
            path = self._folder / f"{self._part}-{self._number:05d}.jsonl"
            self._file = path.open("wb")
            self._number += 1
        self._file.write(self._encoder.encode(line) + b"\n")
        self.documents += 1
        self.bytes += len(line.text.encode())
        if self._file.tell() >= self._most:
            self._file.close()
            self._file = None
