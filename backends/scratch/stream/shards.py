"""Token shards: plain files of token ids, one document after another, with an index beside them.

A file is little-endian uint16 (uint32 for a vocabulary above 65,536) without a header, as other
trainers read it too; each document is followed by the end-of-sequence token. `index.json`, written
last, says what is there, so that a folder is either whole or known not to be.
"""

import hashlib
import mmap
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from knowledge.errors import UserError

INDEX = "index.json"
SHARD_TOKENS = 2**26
RESIDENT = 4096  # reads of a mapping after which its pages go back to the system's cache
WRITTEN_AT_ONCE = 2**20  # tokens


class File(msgspec.Struct, frozen=True):
    """One file of a folder of shards."""

    name: str
    tokens: int
    sha256: str


class Index(msgspec.Struct, frozen=True):
    """What a folder of shards holds."""

    dtype: str
    vocabulary_size: int
    eos: int
    documents: int
    tokens: int
    files: tuple[File, ...]


class Shards:
    """The tokens of a folder as one long sequence, mapped into memory and read where wanted."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        self.tokens = index.tokens
        self._dtype = np.dtype(index.dtype).newbyteorder("<")
        self._starts = np.cumsum([0, *(file.tokens for file in index.files)])
        self._maps: dict[int, mmap.mmap] = {}
        self._reads = 0

    @property
    def vocabulary_size(self) -> int:
        """Tokens that may occur are below this."""
        return self.index.vocabulary_size

    @property
    def eos(self) -> int:
        """The token after each document."""
        return self.index.eos

    @property
    def fingerprint(self) -> str:
        """A hash that differs where the tokens differ."""
        digest = hashlib.sha256()
        for file in self.index.files:
            digest.update(f"{file.tokens} {file.sha256}\n".encode())
        return digest.hexdigest()

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """The tokens from `start` on, `count` of them, across files where they lie so.

        Raises:
            IndexError: there are not so many.
        """
        if not 0 <= start <= start + count <= self.tokens:
            raise IndexError(f"tokens {start} to {start + count} of {self.tokens}")
        out = np.empty(count, dtype=np.int64)
        done = 0
        for number, at, length in self._parts(start, count):
            offset = at * self._dtype.itemsize
            out[done : done + length] = np.frombuffer(
                self._mapped(number), dtype=self._dtype, count=length, offset=offset
            )
            done += length
        self._reads += 1
        if self._reads % RESIDENT == 0:
            self._let_go()
        return out

    def expect(self, start: int, count: int) -> None:
        """Ask the system to have these tokens in its cache soon; returns at once."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        for number, at, length in self._parts(start, count):
            first = at * self._dtype.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            last = (at + length) * self._dtype.itemsize
            self._mapped(number).madvise(mmap.MADV_WILLNEED, first, last - first)

    def damaged(self) -> list[str]:
        """The names of files whose content is not what was written; reads everything."""
        return [
            file.name
            for file in self.index.files
            if _sha256(self.folder / file.name) != file.sha256
        ]

    def _parts(self, start: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Number of the file, first token in it, how many of it."""
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        while count > 0:
            at = start - int(self._starts[number])
            length = min(count, self.index.files[number].tokens - at)
            if length > 0:
                yield number, at, length
            start, count, number = start + length, count - length, number + 1

    def _mapped(self, number: int) -> mmap.mmap:
        if number not in self._maps:
            with (self.folder / self.index.files[number].name).open("rb") as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[number]

    def _let_go(self) -> None:
        """Pages read stay in the system's cache and leave the process, whose size stays flat."""
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps.values():
                mapped.madvise(mmap.MADV_DONTNEED)


def write_shards(
    documents: Iterable[list[int]],
    folder: Path,
    vocabulary_size: int,
    eos: int,
    shard_tokens: int = SHARD_TOKENS,
) -> Shards:
    """Write documents as shards, in a folder beside that takes its name when all is written.

    Args:
        documents: token ids; taken one by one, so memory does not grow with their number.
        folder: new, or holding shards, which are replaced.
        shard_tokens: of one file; a document may go on in the next.
    Raises:
        UserError: no tokens at all, a token outside the vocabulary, something else in the folder,
            or the disk is full (the folder is then as it was).
    """
    if folder.exists() and not (folder / INDEX).is_file() and any(folder.iterdir()):
        raise UserError(f"{str(folder)!r} holds something else than shards; give another folder")
    if not 0 <= eos < vocabulary_size:
        raise UserError(f"end of sequence {eos} is outside the vocabulary of {vocabulary_size}")
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        index = _written(documents, beside, vocabulary_size, eos, shard_tokens)
        (beside / INDEX).write_bytes(msgspec.json.format(msgspec.json.encode(index)))
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write shards in {str(folder)!r}: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Shards(folder, index)


def open_shards(folder: Path) -> Shards:
    """The shards of a folder, ready to be read.

    Raises:
        UserError: no shards there, an index that is damaged, or a file missing or cut short.
    """
    path = folder / INDEX
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError:
        raise UserError(f"no shards in {str(folder)!r} (no {INDEX}); write them anew") from None
    except msgspec.DecodeError as error:
        raise UserError(f"{str(path)!r} is damaged: {error}; write the shards anew") from None
    size = np.dtype(index.dtype).itemsize
    for file in index.files:
        shard = folder / file.name
        seen = shard.stat().st_size if shard.is_file() else None
        if seen != file.tokens * size:
            state = "is missing" if seen is None else f"has {seen:,} bytes"
            raise UserError(
                f"shard {str(shard)!r} {state}, not the {file.tokens * size:,} that were written; "
                f"copy it again, or delete {str(folder)!r} and have it written anew"
            )
    return Shards(folder, index)


def _written(
    documents: Iterable[list[int]], folder: Path, vocabulary_size: int, eos: int, shard_tokens: int
) -> Index:
    dtype = np.dtype(np.uint16 if vocabulary_size <= 2**16 else np.uint32)
    count = 0
    with _Writer(folder, dtype, shard_tokens) as writer:
        for number, document in enumerate(documents, start=1):
            if not len(document):
                continue
            tokens = np.asarray(document, dtype=np.int64)
            if tokens.min() < 0 or tokens.max() >= vocabulary_size:
                wrong = tokens[(tokens < 0) | (tokens >= vocabulary_size)][0]
                raise UserError(
                    f"document {number:,} has token {wrong}, outside the vocabulary of "
                    f"{vocabulary_size:,}; encode it with the tokenizer that belongs to it"
                )
            writer.add(tokens.astype(dtype.newbyteorder("<")))
            writer.add(np.asarray([eos], dtype=dtype.newbyteorder("<")))
            count += 1
    if not count:
        raise UserError("no tokens to write: every document is empty")
    files = tuple(writer.files)
    tokens_in_all = sum(file.tokens for file in files)
    return Index(dtype.name, vocabulary_size, eos, count, tokens_in_all, files)


class _Writer:
    """Tokens into files of a size, each hashed while it is written."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self.files: list[File] = []
        self._folder = folder
        self._size = dtype.itemsize
        self._room = shard_tokens
        self._shard_tokens = shard_tokens
        self._waiting: list[NDArray[Any]] = []
        self._waits = 0
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._close()

    def add(self, tokens: NDArray[Any]) -> None:
        """Append tokens; a full file is closed and the next begun."""
        while len(tokens):
            part = tokens[: self._room]
            tokens = tokens[len(part) :]
            self._waiting.append(part)
            self._waits += len(part)
            self._room -= len(part)
            if self._waits >= WRITTEN_AT_ONCE or not self._room:
                self._flush()
            if not self._room:
                self._close()

    def _flush(self) -> None:
        if not self._waits:
            return
        if self._file is None:
            self._digest = hashlib.sha256()
            self._file = (self._folder / f"{len(self.files):05d}.bin").open("wb")
        content = np.concatenate(self._waiting).tobytes()
        self._file.write(content)
        self._digest.update(content)
        self._waiting, self._waits = [], 0

    def _close(self) -> None:
        if self._file is None:
            return
        written = self._file.tell() // self._size
        self._file.close()
        name = f"{len(self.files):05d}.bin"
        self.files.append(File(name, written, self._digest.hexdigest()))
        self._file, self._room = None, self._shard_tokens


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
