"""Any place that passages can be found in, behind one call: a folder's index, SQL, an HTTP search.

A retriever gives, for a question, passages as citations (`backends.rag.answers.citation`): the
same keys, numbered 1, 2... whatever they come from. `answered` reads an answer out of any of them.
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

import msgspec

from backends.base import Prediction
from backends.data.languages import language_of, stemmed_language
from backends.rag import ABSTAIN_BELOW, vectors, words
from backends.rag.answers import Reader
from backends.rag.asking import AS_MADE, Answerer, Asked
from backends.rag.chunks import Chunk
from backends.rag.embedder import Embedder
from backends.rag.index import Index
from backends.rag.search import Hit
from knowledge.errors import UserError

TIMEOUT = 20.0  # seconds
LARGEST = 8 * 1024 * 1024  # bytes of an HTTP answer
SLOWEST = 20_000_000  # steps of SQLite's machine before a query is given up: some seconds


class Retriever(Protocol):
    """Whatever finds passages."""

    def passages(self, question: str, k: int) -> list[dict[str, Any]]:
        """The best passages for a question, best first, as citations; at most `k`.

        Raises:
            UserError: it cannot be asked, or answers what is no passages.
        """


class Folder(msgspec.Struct, frozen=True):
    """An index that a `rag` step made."""

    answerer: Answerer
    how: Asked = AS_MADE

    def passages(self, question: str, k: int) -> list[dict[str, Any]]:
        """The passages of the index."""
        how = msgspec.structs.replace(self.how, k=k)
        return self.answerer.passages([question], how)[0]


class Sql(msgspec.Struct, frozen=True):
    """A query on an SQLite database, opened read-only.

    `query` takes `:question`, `:words` (the question's words joined by OR, quoted for FTS5) and
    `:k`; its columns are `text` (or `passage`), and perhaps `document`, `heading`, `score`.
    """

    database: Path
    query: str

    def passages(self, question: str, k: int) -> list[dict[str, Any]]:
        """The rows of the query as passages."""
        if not self.database.is_file():
            raise UserError(f"no database {str(self.database)!r}; check the path")
        quoted = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question)) or '""'
        place = f"file:{quote(str(self.database.resolve()))}?mode=ro"
        try:
            with closing(sqlite3.connect(place, uri=True)) as database:
                database.row_factory = sqlite3.Row
                steps = [0]

                def too_slow() -> bool:
                    steps[0] += 100_000
                    return steps[0] > SLOWEST

                database.set_progress_handler(too_slow, 100_000)
                given = {"question": question, "words": quoted, "k": k}
                rows = database.execute(self.query, given).fetchmany(k)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UserError(f"the query on {self.database.name!r} fails: {error}") from None
        return cited([dict(row) for row in rows], self.database.name)


class Http(msgspec.Struct, frozen=True):
    """A search service that answers GET with JSON.

    `url` holds `{question}` and perhaps `{k}`; `rows` leads to the list in the answer by its keys
    (`hits.hits`), `columns` from our names to theirs (`{"text": "_source.body"}`). `headers` come
    from the caller, who reads keys from the environment; they are never written anywhere.
    """

    url: str
    rows: str = ""
    columns: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Http({urlsplit(self.url).hostname!r})"

    def passages(self, question: str, k: int) -> list[dict[str, Any]]:
        """The rows of the service's answer as passages."""
        host = urlsplit(self.url).hostname
        if urlsplit(self.url).scheme not in ("http", "https") or not host:
            raise UserError(f"{self.url!r} is no http(s) URL such as http://host/?q={{question}}")
        url = self.url.replace("{question}", quote(question, safe="")).replace("{k}", str(k))
        try:
            request = Request(url, headers=dict(self.headers))  # noqa: S310 (its scheme is checked)
            with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 (as above)
                content = answer.read(LARGEST + 1)
        except HTTPError as error:
            raise UserError(f"{host} answers {error.code} {error.reason}; check the URL") from None
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{host} cannot be asked: {reason}; is it up?") from None
        if len(content) > LARGEST:
            raise UserError(f"{host} answers more than {LARGEST // 2**20} MiB; ask for less")
        try:
            found = _inside(json.loads(content), self.rows)
        except (ValueError, RecursionError):
            raise UserError(f"{host} does not answer JSON; check the URL") from None
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise UserError(f"{host}: no list of objects at {self.rows or 'the top'!r}; set rows")
        return cited([self._row(row) for row in found[:k]], host)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {ours: _inside(row, theirs) for ours, theirs in self.columns.items()}


def answered(
    retriever: Retriever,
    embedder: Embedder,
    question: str,
    *,
    k: int = 5,
    sentences: int = 2,
    abstain_below: float = ABSTAIN_BELOW,
) -> Prediction:
    """An answer read out of the passages that any retriever finds, with their citations.

    Abstains as an index's own answers do; which words are rare is told by the passages found.

    Raises:
        UserError: as the retriever.
    """
    found = retriever.passages(question, k)
    if not found:
        return Prediction(question, abstained=True)
    chunks = [
        Chunk(str(one["document"]), one["heading"], 0, len(one["passage"]), one["passage"], "")
        for one in found
    ]
    texts = [chunk.searched for chunk in chunks]
    language = stemmed_language([language_of(" ".join(texts))])
    rows = embedder.passages(texts)
    index = Index(chunks, vectors.built(rows), words.build(texts, language))
    (asked,) = embedder.questions([question])
    hits = [Hit(at, float(found[at]["score"]), float(rows[at] @ asked)) for at in range(len(found))]
    reader = Reader(index, embedder)
    said = reader.answer(question, asked, hits, sentences=sentences, abstain_below=abstain_below)
    citations = tuple(
        {**own, "similarity": new["similarity"], "used": new["used"]}
        for own, new in zip(found, said.citations, strict=True)
    )
    return msgspec.structs.replace(said, citations=citations)


def cited(rows: Sequence[Mapping[str, Any]], source: str) -> list[dict[str, Any]]:
    """Rows with `text` (or `passage`) as citations; what a row lacks is filled in.

    Args:
        source: what rows without a `document` are cited by, with their number.
    Raises:
        UserError: a row has no text.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        text = row.get("text") or row.get("passage")
        if not isinstance(text, str) or not text.strip():
            names = ", ".join(map(repr, row)) or "none"
            raise UserError(f"{source}: row {number} has no text (columns: {names}); name one text")
        score = row.get("score")
        scored = isinstance(score, int | float) and not isinstance(score, bool)
        found.append(
            {
                "n": number,
                "document": str(row.get("document") or f"{source}#{number}"),
                "heading": str(row.get("heading") or ""),
                "start": 0,
                "end": len(text),
                "score": round(float(score), 4) if scored else round(1 / number, 4),  # type: ignore[arg-type]
                "similarity": None,
                "used": False,
                "passage": text,
            }
        )
    return found


def _inside(value: Any, path: str) -> Any:
    """What keys joined by dots lead to; None where they lead nowhere."""
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    return value
