"""A curation from files to shards: every format, what is told, what is refused, what resumes."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backends import load, runner
from backends.base import Context, Data, Interrupted, Plan, Step
from backends.curation import Settings, corpus, sifting
from backends.curation.reading import PIECE, Raw, Unread, raw_documents
from backends.curation.sieves import Sieves
from backends.scratch.stream import open_shards
from backends.scratch.vocabulary import kept
from knowledge import SAMPLES
from knowledge.errors import UserError

PROSE = "The river rises when it rains for long, and the meadows beside it stand under water."
PAGE = f"""<html><head><title>River</title></head><body><nav><a href="/">Home</a></nav>
<article><h1>River</h1><p>{PROSE} {PROSE}</p><p>{PROSE} Later it falls again.</p></article>
<footer>Cookies</footer></body></html>"""
PLAIN = {"filters": [], "abuse_per_1000_words": None}


def texts(number: int) -> list[str]:
    """Texts with nothing in common."""
    return [
        f"Note {n}: " + " ".join(f"{word}{n * k}" for k, word in enumerate(PROSE.split(), 1))
        for n in range(number)
    ]


def write_jsonl(path: Path, found: list[str]) -> Path:
    lines = [json.dumps({"id": f"t{n}", "text": text}) for n, text in enumerate(found)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def record(kind: str, address: str, content: bytes) -> bytes:
    """One record of a web archive, packed by itself."""
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {address}\r\n"
    head += "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
    head += f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Length: {len(content)}\r\n\r\n"
    return gzip.compress(head.encode() + content + b"\r\n\r\n")


def archive() -> bytes:
    """A web archive of a page, a picture and a converted text."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE.encode()
    picture = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nPNG"
    return (
        record("response", "https://a.example/p", page)
        + record("response", "https://a.example/i", picture)
        + record("conversion", "https://a.example/w", b"converted text")
    )


def step(source: Path, model: str | None = None, **changes: Any) -> Step:
    evaluation = changes.pop("test", None)
    data = Data(corpus=str(source), test=evaluation)
    return Step("curate", "curate", model, data=data, settings={**PLAIN, **changes})


def run(one: Step, folder: Path, *, resume: bool = False, stop: Any = None) -> Any:
    folder.mkdir(exist_ok=True)
    context = Context(folder=folder, resume=resume, should_stop=stop)
    backend = load("curate")
    backend.check(one, context)
    return backend.run(one, context)


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "corpus" / "report.json").read_bytes())
    return found


def by_step(folder: Path) -> dict[str, dict[str, Any]]:
    return {line["step"]: line for line in told(folder)["steps"]}


def test_every_format_gives_its_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(PROSE)
    (tmp_path / "b.md.gz").write_bytes(gzip.compress(b"# packed"))
    (tmp_path / "c.html").write_text(PAGE)
    (tmp_path / "d.warc.gz").write_bytes(archive())
    pq.write_table(pa.table({"id": ["x"], "text": ["of a column"]}), tmp_path / "e.parquet")
    (tmp_path / "f.csv").write_text("text,n\nof a cell,1\n")
    (tmp_path / "g.txt").write_bytes("Ein Gruß über die Flüsse und Täler".encode("cp1252"))
    (tmp_path / "h.jsonl").write_text('{"text": "one"}\nbroken\n[1]\n{"n": 1}\n{"text": "two"}\n')
    (tmp_path / "i.bin").write_bytes(b"\0")
    (tmp_path / "j.txt").write_bytes(b"binary\0here")
    (tmp_path / "k.parquet").write_bytes(b"PAR1 cut")
    (tmp_path / "l.warc.gz").write_bytes(archive()[:300])
    (tmp_path / "m.warc.gz").write_bytes(archive()[:50])
    found = list(raw_documents(tmp_path))
    read = {raw.name: raw for raw in found if isinstance(raw, Raw)}
    reasons = {one.name: one.reason for one in found if isinstance(one, Unread)}
    assert read["a.txt"].text == PROSE
    assert read["b.md.gz"].text == "# packed"
    assert PROSE in read["c.html"].text and "Home" not in read["c.html"].text
    assert PROSE in read["https://a.example/p"].text
    assert read["https://a.example/w"].text == "converted text"
    assert (read["e.parquet#x"].text, read["f.csv#1"].text) == ("of a column", "of a cell")
    assert read["g.txt"].text == "Ein Gruß über die Flüsse und Täler" and read["g.txt"].recoded
    assert (read["h.jsonl#1"].text, read["h.jsonl#5"].text) == ("one", "two")
    assert reasons["h.jsonl#2"] == "broken JSON"
    assert "no object" in reasons["h.jsonl#3"] and "without a text" in reasons["h.jsonl#4"]
    assert "no text format" in reasons["i.bin"] and reasons["j.txt"] == "binary"
    assert "damaged" in reasons["k.parquet"] and "damaged" in reasons["m.warc.gz"]
    assert any("cut short" in reason for reason in reasons.values())
    shares = [list(raw_documents(tmp_path, share=(rank, 3))) for rank in range(3)]
    assert sorted(one for share in shares for one in share) == sorted(found)


def test_one_gigantic_line_is_cut_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = "é" * PIECE
    (tmp_path / "a.txt").write_text(whole, encoding="utf-8")
    parts = list(raw_documents(tmp_path / "a.txt"))
    assert [one.name for one in parts] == ["a.txt#1", "a.txt#2"]
    assert "".join(one.text for one in parts if isinstance(one, Raw)) == whole
    monkeypatch.setattr("backends.curation.reading.LONGEST_LINE", 1000)
    write_jsonl(tmp_path / "b.jsonl", ["short", "x" * 5000, "after"])
    first, long, last = raw_documents(tmp_path / "b.jsonl")
    assert isinstance(long, Unread) and "longer than" in long.reason
    assert [one.text for one in (first, last) if isinstance(one, Raw)] == ["short", "after"]


def test_a_corpus_is_split_told_and_encoded(tmp_path: Path) -> None:
    found = texts(60)
    found += [found[3].upper(), f"{found[4]} And one word more here.", "Mail bob@example.org now"]
    evaluation = tmp_path / "test.jsonl"
    evaluation.write_text(json.dumps({"question": "?", "answer": found[7]}) + "\n")
    source = write_jsonl(tmp_path / "raw.jsonl", found)
    one = step(source, tokenizer="bpe", vocabulary_size=300, validation=0.2, test=str(evaluation))
    result = run(one, tmp_path / "out")
    made = corpus.curated(tmp_path / "out")
    train, held = (list(corpus.texts(paths)) for paths in (made.train, made.validation))
    assert len(train) + len(held) == 60
    assert not set(train) & set(held) and 4 <= len(held) <= 22
    steps = by_step(tmp_path / "out")
    assert steps["exact-copies"]["documents_dropped"] == 1
    assert steps["near-copies"]["documents_dropped"] == 1
    assert steps["decontamination"]["documents_dropped"] == 1
    assert steps["decontamination"]["dropped"][0]["name"] == "raw.jsonl#t7"
    assert steps["personal"]["documents_changed"] == 1
    assert "Mail <e-mail address> now" in train + held
    for before, after in zip(told(tmp_path / "out")["steps"], told(tmp_path / "out")["steps"][1:],
                             strict=False):  # fmt: skip
        assert after["documents_in"] == before["documents_in"] - before["documents_dropped"]
        assert after["bytes_in"] == before["bytes_in"] - before["bytes_dropped"]
    page = (tmp_path / "out" / "corpus" / "report.html").read_text()
    assert "raw.jsonl#t7" in page and "bob@" not in page
    assert made.tokens_train is not None and made.tokenizer is not None
    shards, tokenizer = open_shards(made.tokens_train), kept(made.tokenizer)
    ids = shards.read(0, shards.tokens).tolist()
    back = tokenizer.decode(ids).split("<|endoftext|>")[:-1]
    assert back == train
    assert result.counts["tokens_train"] == shards.tokens
    assert shards.index.documents == len(train)
    assert not (tmp_path / "out" / "work").exists()


def test_the_same_documents_are_held_back_each_time(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "raw.jsonl", texts(40))
    for name in ("one", "two"):
        run(step(source, validation=0.25), tmp_path / name)
    made = [corpus.curated(tmp_path / name) for name in ("one", "two")]
    assert list(corpus.texts(made[0].validation)) == list(corpus.texts(made[1].validation))
    run(step(source, validation=0.001), tmp_path / "least")
    assert len(list(corpus.texts(corpus.curated(tmp_path / "least").validation))) == 1
    run(step(source, validation=0.0), tmp_path / "none")
    assert corpus.curated(tmp_path / "none").validation == ()


@pytest.mark.parametrize("how", ["asked", "killed"])
def test_a_stopped_curation_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("backends.curation.sieves.BATCH_DOCUMENTS", 5)
    monkeypatch.setattr(sifting, "CHECKPOINT", 2)
    found = texts(43)
    found += [found[5], found[30]]
    source = write_jsonl(tmp_path / "raw.jsonl", found)
    one = step(source, validation=0.2)
    run(one, tmp_path / "whole")
    if how == "asked":
        with pytest.raises(Interrupted, match="after 10 documents"):
            run(one, tmp_path / "cut", stop=lambda: True)
    else:
        real, seen = Sieves.sifted, iter(range(100))

        def dies(self: Sieves, *given: Any) -> Any:
            if next(seen) == 5:  # after a checkpoint, in the middle of a batch
                raise KeyboardInterrupt
            return real(self, *given)

        with monkeypatch.context() as patch:
            patch.setattr(Sieves, "sifted", dies)
            with pytest.raises(KeyboardInterrupt):
                run(one, tmp_path / "cut")
    run(one, tmp_path / "cut", resume=True)
    for name in ("train-00000.jsonl", "validation-00000.jsonl", "report.json"):
        whole, cut = (tmp_path / folder / "corpus" / name for folder in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def refused() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"filters": ["gohper"]}, "did you mean 'gopher"
    yield {"languages": ["english"]}, "no language 'english'"
    yield {"tokenizer": "bpe"}, "needs vocabulary_size"
    yield {"tokenizer": "keep"}, "give the step a model"
    yield {"validation": 0.9}, "<= 0.5"
    yield {"abuse_words": "/nowhere.txt"}, "no file"
    yield {"test": "/nowhere.jsonl"}, "no folder or file"
    yield {"dedupe": "near"}, "did you mean"


@pytest.mark.parametrize(("changes", "says"), list(refused()))
def test_bad_settings_are_said_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    source = write_jsonl(tmp_path / "raw.jsonl", texts(3))
    with pytest.raises(UserError, match=says):
        run(step(source, **changes), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_left_is_said_with_the_step_that_took_most(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "raw.jsonl", texts(5))
    with pytest.raises(UserError, match="nothing is left of 5 documents: gopher-words took 5"):
        run(step(source, filters=["gopher"]), tmp_path / "out")
    assert (tmp_path / "out" / "nothing-left" / "report.html").is_file()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="nothing is left of 0 documents"):
        run(step(tmp_path / "empty"), tmp_path / "out2")
    with pytest.raises(UserError, match=r"support [0-9,]+ pieces"):
        run(step(source, tokenizer="bpe", vocabulary_size=50_000), tmp_path / "out3")
    with pytest.raises(UserError, match="no curated corpus"):
        corpus.curated(tmp_path / "out3")


def test_a_file_of_a_corpus_cut_short_is_said(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "raw.jsonl", texts(9))
    run(step(source), tmp_path / "out")
    (path,) = corpus.curated(tmp_path / "out").train
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="cut short"):
        list(corpus.texts([path]))


def test_small_files_and_separators(tmp_path: Path) -> None:
    (tmp_path / "tunes.abc").write_text("X:1\nabc\n\nX:2\ndef\n\nX:3\nabc\n")
    run(step(tmp_path / "tunes.abc", separator="\n\n", duplicates="exact", tokenizer="characters",
             validation=0.0), tmp_path / "out")  # fmt: skip
    made = corpus.curated(tmp_path / "out")
    assert list(corpus.texts(made.train)) == ["X:1\nabc", "X:2\ndef", "X:3\nabc"]
    assert told(tmp_path / "out")["bytes_per_token"] == 1.0


def test_a_finished_curation_says_what_it_would_keep(tmp_path: Path) -> None:
    handbook = SAMPLES / "handbook"
    plan = Plan("c", (Step("curate", "curate", data=Data(corpus=str(handbook))),))
    result = runner.run(plan, tmp_path / "run")
    assert result.status == "done" and result.steps[0].artefact == "corpus"
    backend = load("curate")
    text = (handbook / "annual-leave.md").read_text()
    said = list(backend.predict(tmp_path / "run", [text, "short"]))
    assert [one.label for one in said] == ["kept", "gopher-words"]
    assert said[1].answer == "words below 50: 1"
    share = backend.evaluate(tmp_path / "run", Data(corpus=str(handbook)))["kept"]
    assert share.value == 1.0 and share.n == len(list(handbook.iterdir()))
    assert msgspec.json.decode((tmp_path / "run/corpus/settings.json").read_bytes(), type=Settings)
