"""PDF files: their text page by page, with pypdf."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError

from backends.data.formats import Document
from knowledge.errors import UserError

# Words that a line's end has cut: "exam-\nple". Only before a lower-case letter.
_CUT = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")
# pypdf tells of every small fault it mends.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def documents(path: Path, name: str) -> Iterator[Document]:
    """The document of a PDF file; pages follow each other after an empty line.

    Raises:
        UserError: the file is damaged, encrypted with a password, or holds no text.
    """
    try:
        title, pages = _read(path)
    except UserError:
        raise
    except (FileNotDecryptedError, DependencyError):
        raise _encrypted() from None
    except Exception as error:  # a damaged file fails in as many ways as there are bytes in it
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"damaged PDF ({reason}); save it again or print it to a new PDF") from None
    starts: list[int] = []
    text = ""
    for page in pages:
        starts.append(len(text))
        text += page + "\n\n"
    if not text.strip():
        raise UserError("no text in it, only pictures (a scan?); run text recognition (OCR) first")
    yield Document(name, text, title, pages=tuple(starts))


def _read(path: Path) -> tuple[str | None, list[str]]:
    with path.open("rb") as file:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise _encrypted()
        pages = [_clean(page.extract_text()) for page in reader.pages]
        title = reader.metadata.title if reader.metadata is not None else None
    return (" ".join(title.split()) or None) if isinstance(title, str) else None, pages


def _clean(text: str) -> str:
    """A page's text: cut words whole, and no character that no encoding carries."""
    text = text.encode("utf-8", "ignore").decode("utf-8").replace("\0", "")
    return _CUT.sub("", "\n".join(line.rstrip() for line in text.splitlines()).strip())


def _encrypted() -> UserError:
    return UserError("encrypted with a password; save a copy without it")
