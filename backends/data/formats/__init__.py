"""Documents out of files of many kinds: one row a kind, one module where a kind needs much.

Light at import: a PDF, DOCX or HTML library comes with the first file of its kind.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from backends.data.characters import whole_text
from backends.data.files import SUFFIXES, records
from knowledge.errors import UserError

Scalar = str | int | float | bool
TEXT_COLUMNS = ("text", "content", "body")
ID_COLUMNS = ("id", "_id")


class Document(msgspec.Struct, frozen=True):
    """A text with the path to cite it by, relative to the corpus; `path#id` for a row of a file.

    `kind` says how the text is structured: `text`, `markdown`, `code` or `table`. `pages` are the
    character offsets at which pages begin, where the file has pages. `meta` are further columns
    of its row, to filter by.
    """

    path: str
    text: str
    title: str | None = None
    kind: str = "text"
    pages: tuple[int, ...] = ()
    meta: dict[str, Scalar] = {}


Reader = Callable[[Path, str], Iterator[Document]]
CODE = (
    ".py", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".go", ".rs", ".c",
    ".h", ".cc", ".cpp", ".hpp", ".cs", ".rb", ".php", ".swift", ".lua", ".jl", ".r", ".sh",
    ".sql", ".pl", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".css",
)  # fmt: skip
MARKDOWN = (".md", ".markdown", ".mdx", ".qmd")
PLAIN = (".txt", ".text", ".rst", ".adoc", ".tex", ".log", ".abc", ".fasta", ".fa", ".fna")
TABLES = (".csv", ".tsv", ".tab", ".parquet", ".pq")


def read(path: Path, name: str) -> list[Document]:
    """The documents of one file.

    Args:
        name: what the file is cited by.
    Raises:
        UserError: it has no format known here, is damaged, encrypted, or holds no text.
    """
    suffix = path.suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise UserError(f"no text format here reads {suffix or 'a name without suffix'}")
    found = [document for document in reader(path, name) if document.text.strip()]
    if not found:
        raise UserError("empty")
    return found


def _plain(path: Path, name: str) -> Iterator[Document]:
    text = whole_text(path)
    yield Document(name, text, _title(text) if path.suffix.lower() != ".txt" else None)


def _markdown(path: Path, name: str) -> Iterator[Document]:
    text = whole_text(path)
    yield Document(name, text, _title(text), kind="markdown")


def _code(path: Path, name: str) -> Iterator[Document]:
    yield Document(name, whole_text(path), kind="code")


def _rows(path: Path, name: str) -> Iterator[Document]:
    """One document a row of JSONL or JSON."""
    for record in records(path):
        document = _of_row(record.cells, name, record.row)
        if document is None:
            raise UserError(f"{record.place} has no 'text'")
        yield document


def _table(path: Path, name: str) -> Iterator[Document]:
    """One document a row where a column is called text; else the table, row by row in words."""
    lines: list[str] = []
    for record in records(path):
        document = None if lines else _of_row(record.cells, name, record.row)
        if document is not None:
            yield document
            continue
        cells = [f"{column}: {cell}" for column, cell in record.cells.items() if _filled(cell)]
        lines.append("\n".join(cells))
    if lines:
        yield Document(name, "\n\n".join(lines), kind="table")


def _of_row(cells: dict[str, Any], name: str, row: int) -> Document | None:
    column = next((one for one in TEXT_COLUMNS if one in cells), None)
    text = cells.get(column or "")
    if not isinstance(text, str) or not text.strip():
        return None
    title = cells.get("title")
    key = next((cells[one] for one in ID_COLUMNS if _filled(cells.get(one))), row)
    meta = {
        other: cell
        for other, cell in cells.items()
        if other not in (column, "title", *ID_COLUMNS) and _filled(cell) and _scalar(cell)
    }
    return Document(
        f"{name}#{key}", text, title if isinstance(title, str) and title else None, meta=meta
    )


def _notebook(path: Path, name: str) -> Iterator[Document]:
    """A Jupyter notebook as Markdown, its code cells fenced, its outputs left out."""
    try:
        cells = msgspec.json.decode(whole_text(path), type=_Notebook).cells
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"no notebook: {error}") from None
    parts = []
    for cell in cells:
        source = cell.source if isinstance(cell.source, str) else "".join(cell.source)
        if source.strip():
            parts.append(f"```\n{source}\n```" if cell.cell_type == "code" else source)
    text = "\n\n".join(parts)
    yield Document(name, text, _title(text), kind="markdown")


class _Cell(msgspec.Struct):
    cell_type: str = "markdown"
    source: str | list[str] = ""


class _Notebook(msgspec.Struct):
    cells: list[_Cell]


def _filled(cell: Any) -> bool:
    return cell is not None and str(cell).strip() != ""


def _scalar(cell: Any) -> bool:
    return isinstance(cell, str | int | float | bool)


def _title(text: str) -> str | None:
    """The first heading: a Markdown `#`, or a line underlined as reStructuredText does."""
    before = ""
    for line in text[:20_000].splitlines()[:60]:
        if line.startswith("#") and line.lstrip("#").startswith(" "):
            return line.strip("# ") or None
        if len(line) > 2 and len(set(line.strip())) == 1 and line[0] in "=-~" and before.strip():
            return before.strip()
        before = line
    return None


def _behind(module: str) -> Reader:
    """A reader whose library is imported with the first file of its kind."""

    def reader(path: Path, name: str) -> Iterator[Document]:
        try:
            behind = import_module(f"backends.data.formats.{module}")
        except ImportError as error:
            raise UserError(
                f"reading {path.suffix} needs {error.name}; install 'llm-advisor[run]'"
            ) from None
        found: Iterator[Document] = behind.documents(path, name)
        return found

    return reader


READERS: dict[str, Reader] = {
    **dict.fromkeys(PLAIN, _plain),
    **dict.fromkeys(MARKDOWN, _markdown),
    **dict.fromkeys(CODE, _code),
    **dict.fromkeys([suffix for suffix in SUFFIXES if suffix not in TABLES], _rows),
    **dict.fromkeys(TABLES, _table),
    ".ipynb": _notebook,
    ".html": _behind("web"),
    ".htm": _behind("web"),
    ".xhtml": _behind("web"),
    ".pdf": _behind("pdf"),
    ".docx": _behind("office"),
}
