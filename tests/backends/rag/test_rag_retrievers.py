"""Passages from an index, an SQLite database and a real HTTP server: the same citations."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backends.base import Context, Data, Step
from backends.rag import BACKEND, embedder
from backends.rag.asking import Answerer
from backends.rag.retrievers import Folder, Http, Retriever, Sql, answered
from knowledge.errors import UserError

ROWS = [
    ("keys", "Every room has one key. You must return your key when you leave."),
    ("leave", "Staff may take ten days of leave per year."),
]
FTS = (
    "SELECT text, document, -bm25(pages) AS score FROM pages "
    "WHERE pages MATCH :words ORDER BY rank LIMIT :k"
)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "pages.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE VIRTUAL TABLE pages USING fts5(document, text)")
        made.executemany("INSERT INTO pages VALUES (?, ?)", ROWS)
    made.close()
    return path


@pytest.fixture
def service() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = parse_qs(parts.query).get("q", [""])[0]
            rows = [{"_source": {"body": text, "name": name}} for name, text in ROWS]
            body: Any = {"hits": {"hits": [row for row in rows if asked in str(row)]}}
            content = b"<html>" if parts.path == "/page" else json.dumps(body).encode()
            self.send_response(500 if parts.path == "/broken" else 200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


COLUMNS = {"text": "_source.body", "document": "_source.name"}


@pytest.fixture(params=["folder", "sql", "http"])
def retriever(
    request: pytest.FixtureRequest, tmp_path: Path, database: Path, service: str, tiny: str
) -> Retriever:
    if request.param == "sql":
        return Sql(database, FTS)
    if request.param == "http":
        return Http(service + "/?q={question}&n={k}", "hits.hits", COLUMNS)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, text in ROWS:
        (corpus / f"{name}.txt").write_text(text)
    settings = {"chunk_tokens": 30, "overlap_tokens": 5, "retriever": "bm25"}
    step = Step("a", "rag", model=tiny, data=Data(corpus=str(corpus)), settings=settings)
    run = tmp_path / "run"
    run.mkdir()
    BACKEND.run(step, Context(folder=run))
    return Folder(Answerer(run))


def test_every_source_is_cited_alike_and_answered_from(retriever: Retriever, tiny: str) -> None:
    found = retriever.passages("key", 3)
    assert found[0]["document"].startswith("keys") and found[0]["passage"] == ROWS[0][1]
    same = {"n", "document", "heading", "start", "end", "score", "similarity", "used", "passage"}
    assert set(found[0]) == same and found[0]["n"] == 1
    said = answered(retriever, embedder.load(tiny), "key", sentences=1, abstain_below=0)
    assert said.answer in ROWS[0][1] and said.citations[0]["used"]
    none = answered(retriever, embedder.load(tiny), "zebra")
    assert none.abstained


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT absent FROM pages", "fails: no such column"),
        ("DELETE FROM pages", "readonly database"),
        ("SELECT document FROM pages", "row 1 has no text (columns: 'document')"),
        (
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "SELECT x AS text FROM n WHERE x < 0",
            "interrupted",
        ),
    ],
)
def test_a_query_that_is_wrong_is_told_and_changes_nothing(
    database: Path, query: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        Sql(database, query).passages("key", 3)
    assert message in str(caught.value)
    assert Sql(database, FTS).passages("key", 3)
    with pytest.raises(UserError, match="no database"):
        Sql(database.with_name("gone.db"), FTS).passages("key", 3)


def test_a_question_is_data_to_the_database(database: Path) -> None:
    for question in ('"); DROP TABLE pages; --', 'key" OR *', "", "'"):
        Sql(database, FTS).passages(question, 3)
    assert Sql(database, FTS).passages("key", 3)


@pytest.mark.parametrize(
    ("place", "rows", "message"),
    [
        ("/broken?q={question}", "", "answers 500"),
        ("/page?q={question}", "", "does not answer JSON"),
        ("/?q={question}", "hits", "no list of objects at 'hits'"),
    ],
)
def test_a_service_that_fails_is_told(service: str, place: str, rows: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Http(service + place, rows).passages("key", 3)
    with pytest.raises(UserError, match="no http"):
        Http("file:///etc/passwd").passages("key", 3)
    with pytest.raises(UserError, match="cannot be asked"):
        Http("http://127.0.0.1:9/?q={question}").passages("key", 3)


def test_a_service_never_shows_its_headers() -> None:
    shown = repr(Http("https://search.example.org/?q={question}", headers={"key": "secret"}))
    assert shown == "Http('search.example.org')"
