"""Raw documents out of whatever files there are, one at a time, and what could not be read.

Nothing is refused here but a path that is not there: a damaged file or row is counted with its
reason, and reading goes on behind it.
"""

import gzip
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import trafilatura
from charset_normalizer import from_bytes
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from backends.data.documents import files
from backends.data.files import SUFFIXES, records
from backends.data.formats import CODE, ID_COLUMNS, MARKDOWN, PLAIN, READERS, TEXT_COLUMNS, read
from knowledge.errors import UserError

LONGEST_LINE = 64 * 2**20  # bytes of a row; a longer one is a dump, and is left out
PIECE = 8 * 2**20  # bytes of a plain file read at once; a longer file is cut at line ends
HTML = (".html", ".htm", ".xhtml")
WARC = (".warc", ".wet")
LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")


class Raw(NamedTuple):
    """A text as it was found: the path to cite it by, and whether its bytes were no UTF-8."""

    name: str
    text: str
    recoded: bool = False


class Unread(NamedTuple):
    """What gave no text, and why."""

    name: str
    reason: str


Found = Iterator[Raw | Unread]


class How(NamedTuple):
    """What a document is: `separator` cuts plain files, `rows_whole` takes every cell of a row."""

    separator: str | None = None
    rows_whole: bool = False


def raw_documents(
    source: str | Path,
    separator: str | None = None,
    *,
    rows_whole: bool = False,
    share: tuple[int, int] = (0, 1),
) -> Found:
    """The documents of a file or folder in the order of their names.

    Plain text, Markdown and code are one document a file, or one a part between separators;
    JSONL and Parquet one a row with a text (all its strings with `rows_whole`); HTML the main
    text of the page; WARC one a page or
    converted text. `.gz` is unpacked on the way.

    Args:
        share: which of how many shares of the files.
    Raises:
        UserError: there is no such path.
    """
    how = How(separator, rows_whole)
    wanted, skipped = files(source)
    for one in skipped if share[0] == 0 else ():
        yield Unread(one.path, one.reason)
    for file in wanted[share[0] :: share[1]]:
        reader = _reader(file.path)
        if reader is None:
            yield Unread(file.name, f"no text format {file.path.suffix or 'without suffix'!r}")
            continue
        try:
            yield from reader(file.path, file.name, how)
        except (OSError, EOFError, ArchiveLoadFailed, UserError, ValueError) as error:
            yield Unread(file.name, f"damaged: {_first_line(error)}")


def _reader(path: Path) -> "Callable[[Path, str, How], Found] | None":
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    for known, reader in (
        (LINES, _rows),
        (PARQUET, _parquet),
        (WARC, _archive),
        (HTML, _page),
        ((*PLAIN, *MARKDOWN, *CODE), _plain),
        ((*SUFFIXES, *READERS), _others),
    ):
        if suffix in known:
            return reader
    return None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _rows(path: Path, name: str, how: How) -> Found:
    with _opened(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            place = f"{name}#{number}"
            if line is None:
                yield Unread(place, f"a row longer than {LONGEST_LINE // 2**20} MiB")
                continue
            if not line.strip():
                continue
            try:
                cells = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield Unread(place, "broken JSON")
                continue
            yield _of_cells(cells, name, number, how)


def _lines(file: IO[bytes]) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is too long, which is never held as a whole."""
    while line := file.readline(LONGEST_LINE):
        if line.endswith(b"\n") or len(line) < LONGEST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield None


def _of_cells(cells: Any, name: str, number: int, how: How) -> Raw | Unread:
    place = f"{name}#{number}"
    if not isinstance(cells, dict):
        return Unread(place, "a row that is no object")
    if how.rows_whole:
        return Raw(place, "\n".join(cell for cell in cells.values() if isinstance(cell, str)))
    text = next((cells[one] for one in TEXT_COLUMNS if isinstance(cells.get(one), str)), None)
    if text is None:
        return Unread(place, f"a row without a text ({', '.join(TEXT_COLUMNS)})")
    key = next((cells[one] for one in ID_COLUMNS if cells.get(one) not in (None, "")), number)
    return Raw(f"{name}#{key}", text)


def _parquet(path: Path, name: str, how: How) -> Found:
    import pyarrow.parquet as pq  # wanted by this format only

    with pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        if not how.rows_whole:
            names = [one for one in names if one in (*TEXT_COLUMNS, *ID_COLUMNS)]
        number = 0
        for batch in file.iter_batches(batch_size=256, columns=names):
            for cells in batch.to_pylist():
                number += 1
                yield _of_cells(cells, name, number, how)


def _archive(path: Path, name: str, how: How) -> Found:
    """Pages of a web archive: HTML of responses, text of conversions."""
    number = 0
    with path.open("rb") as file:
        for number, record in enumerate(ArchiveIterator(file), start=1):
            if record.rec_type not in ("response", "conversion"):
                continue
            place = record.rec_headers.get_header("WARC-Target-URI") or f"{name}#{number}"
            content = record.content_stream().read(LONGEST_LINE)
            if len(content) < LONGEST_LINE and record.raw_stream.limit > 0:
                yield Unread(place, "damaged: a record cut short")
                continue
            if record.rec_type == "conversion":
                yield _decoded(place, content)
                continue
            kind = (record.http_headers or record.rec_headers).get_header("Content-Type") or ""
            yield _main_text(place, content) if "html" in kind else Unread(place, "no page")
    if not number:
        yield Unread(name, "damaged: no record in it")


def _page(path: Path, name: str, how: How) -> Found:
    with _opened(path) as file:
        yield _main_text(name, file.read(LONGEST_LINE))


def _main_text(name: str, content: bytes) -> Raw | Unread:
    """What a page says, without its menus and adverts."""
    found = _decoded(name, content)
    if isinstance(found, Unread):
        return found
    text = trafilatura.extract(found.text, include_comments=False)
    return found._replace(text=text) if text else Unread(name, "a page without main text")


def _plain(path: Path, name: str, how: How) -> Found:
    with _opened(path) as file:
        pieces = _pieces(file)
        ahead = list(islice(pieces, 2))
        whole = len(ahead) < 2 and how.separator is None
        number = 0
        for piece in chain(ahead, pieces):
            found = _decoded(name, piece)
            if isinstance(found, Unread):
                yield found
                return
            for part in found.text.split(how.separator) if how.separator else [found.text]:
                number += 1
                if part.strip():
                    yield found._replace(name=name if whole else f"{name}#{number}", text=part)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces that end with a line, or where none ends, anywhere but in a character."""
    rest = b""
    while chunk := file.read(PIECE):
        chunk = rest + chunk
        if len(chunk) < PIECE:
            rest = chunk
            break
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            cut = len(chunk) - _begun(chunk[-4:])
        yield chunk[:cut]
        rest = chunk[cut:]
    if rest:
        yield rest


def _begun(end: bytes) -> int:
    """Bytes at the end that begin a character of UTF-8 and do not finish it."""
    for back in range(1, len(end) + 1):
        byte = end[-back]
        if byte & 0xC0 != 0x80:
            wanted = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if wanted > back else 0
    return 0


def _decoded(name: str, content: bytes) -> Raw | Unread:
    """Bytes as text: UTF-8, or the encoding in which they look like language."""
    try:
        text = content.decode("utf-8-sig")
        if "\0" not in text:
            return Raw(name, text)
    except UnicodeDecodeError:
        pass
    if b"\0" in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Unread(name, "binary")
    best = from_bytes(content[: 2**20]).best()
    if best is None:
        return Unread(name, "bytes in no encoding known here")
    return Raw(name, content.decode(best.encoding, "replace"), recoded=True)


def _others(path: Path, name: str, how: How) -> Found:
    """Formats that the data room reads: tables, JSON, PDF, DOCX, notebooks."""
    if path.suffix.lower() in SUFFIXES:
        for record in records(path):
            yield _of_cells(record.cells, name, record.row, how)
        return
    for document in read(path, name):
        yield Raw(document.path, document.text)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
