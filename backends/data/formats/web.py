"""HTML files as Markdown: what a reader of the page sees, with lxml."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree, html

from backends.data.formats import Document
from knowledge.errors import UserError

UNSEEN = frozenset((
    "script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object",
    "canvas", "audio", "video", "select", "button", "nav", "footer", "dialog", "input",
    "textarea",
))  # fmt: skip
BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "details", "dd", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "form", "header", "hr", "html", "main", "ol", "p",
    "section", "summary", "table", "tbody", "tfoot", "thead", "ul",
))  # fmt: skip
MARKED = {"li": "- "} | {f"h{level}": "#" * level + " " for level in range(1, 7)}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_DECLARED = re.compile(rb"<meta[^>]+charset|<\?xml[^>]+encoding", re.IGNORECASE)
DEEPEST = 400  # elements inside each other; more is a page made to break readers


def documents(path: Path, name: str) -> Iterator[Document]:
    """The document of an HTML page: its main part where one is marked, scripts left out.

    Raises:
        UserError: the file is not text in the encoding that it declares, or holds none.
    """
    content = path.read_bytes()
    root = _parsed(content)
    if root is None:
        raise UserError("no HTML element in it")
    title = root.findtext(".//title")
    mains = root.xpath("//main | //*[@role='main']")
    writer = _Writer()
    writer.write(mains[0] if len(mains) == 1 else root, 0)
    plain = " ".join((title or "").split()) or None
    yield Document(name, writer.text(), plain, kind="markdown")


def _parsed(content: bytes) -> Any:
    if b"\0" in content:
        raise UserError(f"NUL at byte {content.index(0)}; the file is binary or damaged there")
    encoding: str | None = None
    try:
        content.decode("utf-8")
        encoding = "utf-8"
    except UnicodeDecodeError as error:
        if not _DECLARED.search(content[:2048]):
            raise UserError(
                f"not UTF-8 (byte {content[error.start]:#04x} at {error.start}) and no other "
                "encoding declared; save it as UTF-8"
            ) from None
    try:
        return html.document_fromstring(content, parser=html.HTMLParser(encoding=encoding))
    except (etree.ParserError, etree.XMLSyntaxError, LookupError):
        return None


class _Writer:
    """Markdown from elements; white space as a browser collapses it."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._line = ""
        self._mark = ""

    def text(self) -> str:
        """What has been written: blocks with an empty line between, list items without."""
        self.end()
        found = ""
        for block in self._blocks:
            tight = block.startswith(("- ", "| ")) and found.rpartition("\n")[2][:2] == block[:2]
            found += ("" if not found else "\n" if tight else "\n\n") + block
        return found

    def end(self) -> None:
        """Close the paragraph that is open, the mark of its kind before it."""
        line = self._line.strip()
        if line:
            self._blocks.append(self._mark + line)
            self._mark = ""
        self._line = ""

    def write(self, element: Any, depth: int) -> None:
        """Write an element and what follows inside it."""
        tag = element.tag
        if not isinstance(tag, str) or tag in UNSEEN or _is_hidden(element) or depth > DEEPEST:
            return
        if tag == "pre":
            self.end()
            code = "".join(element.itertext()).strip("\n")
            if code.strip():
                self._blocks.append(f"```\n{code}\n```")
        elif tag in MARKED:
            self.end()
            self._mark = MARKED[tag]
            self._inside(element, depth)
            self.end()
            self._mark = ""
        elif tag == "tr":
            self.end()
            cells = [cell for cell in element if cell.tag in ("td", "th")]
            row = [" ".join("".join(_seen(cell)).split()) for cell in cells]
            if any(row):
                self._blocks.append(f"| {' | '.join(row)} |")
        elif tag == "br":
            self._line += "\n"
        elif tag in BLOCKS:
            self.end()
            self._inside(element, depth)
            self.end()
        else:
            self._inside(element, depth)

    def _inside(self, element: Any, depth: int) -> None:
        self._add(element.text)
        for child in element:
            self.write(child, depth + 1)
            self._add(child.tail)

    def _add(self, text: str | None) -> None:
        if text:
            joined = _SPACE.sub(" ", text)
            after_space = not self._line or self._line[-1].isspace()
            self._line += joined.lstrip() if after_space else joined


def _seen(element: Any) -> Iterator[str]:
    """The text of an element without what is not shown."""
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str) and child.tag not in UNSEEN and not _is_hidden(child):
            yield " " if child.tag in BLOCKS or child.tag == "br" else ""
            yield from _seen(child)
        yield child.tail or ""


def _is_hidden(element: Any) -> bool:
    style = element.get("style") or ""
    return element.get("hidden") is not None or bool(_HIDDEN.search(style))
