"""Retrieval sets for benchmarks: documents, and questions with the documents that answer them."""

import json
import re
from pathlib import Path
from typing import NamedTuple


class Set(NamedTuple):
    """Documents as (title, text, kind), and questions with the numbers of the right documents."""

    name: str
    documents: list[tuple[str, str, str]]
    questions: list[tuple[str, set[int]]]


def xquad(folder: Path, language: str) -> Set:
    """The paragraphs of XQuAD; a question's own is the right one."""
    articles = json.loads((folder / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    questions = [
        (one["question"], {number})
        for number, paragraph in enumerate(paragraphs)
        for one in paragraph["qas"]
    ]
    texts = [("", paragraph["context"], "text") for paragraph in paragraphs]
    return Set(f"xquad {language}", texts, questions)


def cookbook(folder: Path) -> Set:
    """Sections of a product's documentation with questions; some have two right sections."""
    base = folder / "skills" / "retrieval_augmented_generation"
    rows = json.loads((base / "data" / "anthropic_docs.json").read_text(encoding="utf-8"))
    file = base / "evaluation" / "docs_evaluation_dataset.json"
    asked = json.loads(file.read_text(encoding="utf-8"))
    places = {row["chunk_link"]: number for number, row in enumerate(rows)}
    questions = [
        (one["question"], {places[link] for link in one["correct_chunks"] if link in places})
        for one in asked
    ]
    documents = [(row["chunk_heading"], row["text"], "markdown") for row in rows]
    return Set("cookbook docs", documents, [one for one in questions if one[1]])


def rust_book(folder: Path) -> Set:
    """Sections of the Rust book without their headings; each heading is the question for its own.

    Headings that stand twice are left out: two sections would be right.
    """
    documents, headings = [], []
    for path in sorted((folder / "src").glob("*.md")):
        parts = re.split(r"^(#{1,6} .*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for heading, body in zip(parts[1::2], parts[2::2], strict=True):
            if len(body.split()) >= 20:
                documents.append(("", body.strip(), "markdown"))
                headings.append(re.sub(r"[#`*]", "", heading).strip())
    once = {heading for heading in headings if headings.count(heading) == 1}
    questions = [(heading, {at}) for at, heading in enumerate(headings) if heading in once]
    return Set("rust book", documents, questions)


def found(data: Path, name: str) -> Set:
    """The set of that name below a folder of data sets."""
    if name.startswith("xquad"):
        return xquad(data / "xquad", name.partition("-")[2] or "en")
    if name == "cookbook":
        return cookbook(data / "cookbook_docs_rag")
    return rust_book(data / "rust_book_docs")
