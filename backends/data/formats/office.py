"""DOCX files as Markdown: headings, lists and tables kept, with python-docx."""

from collections.abc import Iterator
from pathlib import Path

import docx
from docx.table import Table
from docx.text.paragraph import Paragraph

from backends.data.formats import Document
from knowledge.errors import UserError


def documents(path: Path, name: str) -> Iterator[Document]:
    """The document of a DOCX file.

    Raises:
        UserError: the file is damaged or encrypted.
    """
    try:
        opened = docx.Document(str(path))
        parts = [_block(part) for part in opened.iter_inner_content()]
        title = opened.core_properties.title or None
    except Exception as error:  # a damaged package fails in as many ways as it has parts
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"damaged or encrypted DOCX ({reason}); save it again") from None
    yield Document(name, _joined([part for part in parts if part]), title, kind="markdown")


def _block(part: Paragraph | Table) -> str:
    if isinstance(part, Table):
        return "\n".join(_row(cells) for cells in _cells(part))
    text = part.text.strip()
    style = (part.style.name if part.style is not None else None) or ""
    if not text:
        return ""
    if style == "Title":
        return f"# {' '.join(text.split())}"
    if style.startswith("Heading "):
        level = style.removeprefix("Heading ")
        deep = int(level) if level.isdigit() else 1
        return f"{'#' * min(deep, 6)} {' '.join(text.split())}"
    if style.startswith("List"):
        return f"- {text}"
    return text


def _cells(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        # A merged cell comes once for every column that it spans.
        distinct = {id(cell._tc): cell for cell in row.cells}
        yield [" ".join(cell.text.split()) for cell in distinct.values()]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _joined(parts: list[str]) -> str:
    """Blocks after empty lines, but the items of a list one after the other."""
    text = ""
    for part in parts:
        in_list = part.startswith("- ") and text.rpartition("\n")[2].startswith("- ")
        text += ("" if not text else "\n" if in_list else "\n\n") + part
    return text
