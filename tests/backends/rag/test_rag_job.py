"""The backend at work on a small folder with a tiny embedder: run, resume, predict, evaluate."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import msgspec
import numpy as np
import pytest

from backends.base import Context, Data, Interrupted, Step, StepResult
from backends.rag import BACKEND, index, updating
from backends.rag.embedder import Embedder
from knowledge.errors import UserError

Asked = Callable[..., str]
SMALL = {"chunk_tokens": 30, "overlap_tokens": 5}


def step(corpus: Path | None, model: str, questions: str | None = None, **changes: Any) -> Step:
    data = Data(corpus=None if corpus is None else str(corpus), questions=questions)
    settings = SMALL | changes.pop("settings", {})
    return Step("answer", "rag", model=model, data=data, settings=settings, **changes)


def context(tmp_path: Path, **changes: Any) -> Context:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    return Context(folder=folder, **changes)


def checked_run(what: Step, where: Context) -> StepResult:
    BACKEND.check(what, where)
    return BACKEND.run(what, where)


def test_a_folder_becomes_an_index_and_answers_cite_exact_passages(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    where = context(tmp_path)
    result = checked_run(step(handbook, tiny), where)
    assert result.artefact == "index" and result.counts["documents"] == 2
    assert result.settings["retriever"] == "hybrid" and result.peak_memory_bytes
    vectors = faiss.read_index(str(where.folder / "index" / "000001" / "vectors.faiss"))
    assert vectors.ntotal == result.counts["passages"] > 2
    assert not (where.folder / "checkpoints").exists()
    (said,) = BACKEND.predict(where.folder, ["Who must return the key?"], k=2, abstain_below=0)
    assert not said.abstained and said.answer and len(said.citations) == 2
    for citation in said.citations:
        text = (handbook / citation["document"]).read_text(encoding="utf-8")
        assert citation["passage"] == text[citation["start"] : citation["end"]]
    assert said.citations[0]["document"] == "office/keys.txt"
    assert [citation["n"] for citation in said.citations] == [1, 2]
    json.dumps(msgspec.to_builtins(said))


def test_weak_retrieval_abstains_but_still_cites(tmp_path: Path, handbook: Path, tiny: str) -> None:
    where = context(tmp_path)
    checked_run(step(handbook, tiny, settings={"abstain_below": 1.0}), where)
    (said,) = BACKEND.predict(where.folder, iter(["Zebra?"]))
    assert said.abstained and said.answer is None and said.citations
    assert said.confidence is not None and said.confidence < 1


def test_questions_are_measured_per_retriever_and_calibrate_the_threshold(
    tmp_path: Path, handbook: Path, tiny: str, asked: Asked
) -> None:
    questions = asked(
        {"question": "How many keys has a room?", "document": "keys", "answer": "one key"},
        {"question": "Who pays for lost keys?", "passage": "Lost keys are paid by the one"},
        {"question": "When do I call?", "document": "leave.md", "answer": "before ten"},
        {"question": "What is a zebra?", "answerable": False},
    )
    where = context(tmp_path)
    result = checked_run(step(handbook, tiny, questions), where)
    names = {"recall@1", "recall@5", "recall@10", "mrr", "ndcg@10"}
    others = {f"{other}_{name}" for other in ("dense", "bm25") for name in names}
    rest = {"answer_f1", "answer_contained", "citation_precision"}
    rest |= {"oracle_answer_f1", "answered", "abstained_unanswerable"}
    assert set(result.metrics) == names | others | rest
    assert result.metrics["recall@10"].n == 3 and result.metrics["mrr"].low is not None
    assert result.counts["questions"] == 4
    kept = index.manifest(where.folder).abstain_below
    assert result.settings["abstain_below"] == pytest.approx(kept, abs=1e-4)
    assert any("calibrated" in note for note in result.notes)
    again = BACKEND.evaluate(where.folder, Data(questions=questions))
    assert again == result.metrics
    sparse = BACKEND.evaluate(where.folder, Data(test=questions), retriever="bm25")
    assert sparse["mrr"] == result.metrics["bm25_mrr"]


def test_an_interrupted_indexing_goes_on_where_it_stopped(
    tmp_path: Path, handbook: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (handbook / "many.md").write_text(
        "\n\n".join(f"# Room {n}\n\nThe key of room {n} is in office {n}." for n in range(30))
    )
    small = {"batch_size": 1}
    monkeypatch.setattr("backends.rag.embedding.SAVED_AFTER", 0.0)  # eight passages at a time
    stops = iter([False] * 5 + [True] * 99)
    where = context(tmp_path, should_stop=lambda: next(stops))
    with pytest.raises(Interrupted, match=r"16 of \d+ passages"):
        checked_run(step(handbook, tiny, settings=small), where)
    assert index.found(where.folder) is None
    embedded: list[int] = []
    passages = Embedder.passages
    monkeypatch.setattr(
        Embedder,
        "passages",
        lambda self, texts: embedded.append(len(texts)) or passages(self, texts),
    )
    resumed = checked_run(step(handbook, tiny, settings=small), context(tmp_path, resume=True))
    assert resumed.counts["embedded"] == sum(embedded) == resumed.counts["passages"] - 16
    whole = tmp_path / "whole"
    whole.mkdir()
    checked_run(step(handbook, tiny, settings=small), Context(folder=whole))
    one, other = (
        faiss.read_index(str(f / "index" / "000001" / "vectors.faiss"))
        for f in (where.folder, whole)
    )
    assert np.allclose(
        one.reconstruct_n(0, one.ntotal), other.reconstruct_n(0, other.ntotal), atol=1e-5
    )


def test_what_another_embedder_left_is_not_gone_on_with(
    tmp_path: Path, handbook: Path, tiny: str, other_tiny: str
) -> None:
    checked_run(step(handbook, tiny), context(tmp_path))
    same = checked_run(step(handbook, tiny), context(tmp_path, resume=True))
    assert same.counts["embedded"] == 0
    other = checked_run(step(handbook, other_tiny), context(tmp_path, resume=True))
    assert other.counts["embedded"] == other.counts["passages"]


def test_an_index_of_another_embedder_is_refused(
    tmp_path: Path, handbook: Path, tiny: str, other_tiny: str
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(tiny, mine)
    where = context(tmp_path)
    checked_run(step(handbook, str(mine)), where)
    shutil.rmtree(mine)
    shutil.copytree(other_tiny, mine)
    with pytest.raises(UserError, match=r"has other weights \(.* build the index again"):
        list(BACKEND.predict(where.folder, ["key?"]))


def test_a_later_step_asks_the_index_of_an_earlier_one_in_its_own_way(
    tmp_path: Path, handbook: Path, tiny: str, other_tiny: str, asked: Asked
) -> None:
    first = context(tmp_path)
    checked_run(step(handbook, tiny), first)
    questions = asked({"question": "key?", "document": "keys"})
    later = Context(folder=tmp_path / "later", artefacts={"answer": first.folder})
    later.folder.mkdir()
    again = step(None, tiny, questions, index="step:answer", settings={"retriever": "bm25"})
    result = checked_run(again, later)
    assert result.counts["embedded"] == 0 and "dense_mrr" in result.metrics
    assert index.manifest(later.folder).retriever == "bm25"
    with pytest.raises(UserError, match="was made with the embedder"):
        BACKEND.run(step(None, other_tiny, index="step:answer"), later)


def test_an_embedder_of_an_earlier_step_is_found_again_after_the_run_moved(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    run = tmp_path / "run"
    made = run / "steps" / "tune"
    shutil.copytree(tiny, made / "model")
    checked_run(step(handbook, "step:tune"), Context(folder=run, artefacts={"tune": made}))
    moved = run.rename(tmp_path / "moved")
    (said,) = BACKEND.predict(moved, ["key?"])
    assert said.citations


def test_a_jsonl_corpus_is_cited_by_id(tmp_path: Path, tiny: str) -> None:
    corpus = tmp_path / "faq.jsonl"
    rows = [{"id": "k", "title": "Keys", "text": "Return the key."}, {"id": "l", "text": "Leave."}]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = context(tmp_path)
    checked_run(step(corpus, tiny), where)
    (said,) = BACKEND.predict(where.folder, ["return key"], retriever="bm25")
    assert (said.citations[0]["document"], said.citations[0]["heading"]) == ("faq.jsonl#k", "Keys")


def test_an_unreadable_file_is_noted_and_the_rest_is_indexed(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    (handbook / "latin.txt").write_bytes("Schlüssel".encode("latin-1"))
    (handbook / "picture.txt").write_bytes(b"\x89PNG\0\0")
    result = checked_run(step(handbook, tiny), context(tmp_path))
    assert result.counts["documents"] == result.counts["not_indexed"] == 2
    assert any("latin.txt" in note and "UTF-8" in note for note in result.notes)


def test_many_files_that_cannot_be_read_are_all_named_with_their_reasons(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    for number in range(7):
        (handbook / f"nothing-{number}.txt").write_text(" ")
    shutil.copy(handbook / "leave.md", handbook / "zz again\n.md")
    where = context(tmp_path)
    result = checked_run(step(handbook, tiny), where)
    assert result.counts["not_indexed"] == 8
    (more,) = (note for note in result.notes if "more" in note)
    assert more == "not indexed: 3 more; index/not_indexed.txt has every file and its reason"
    said = (where.folder / "index" / "not_indexed.txt").read_text().splitlines()
    assert said == [
        *(f"nothing-{number}.txt: empty" for number in range(7)),
        "zz again\\n.md: a copy of leave.md",
    ]
    (handbook / "nothing-0.txt").write_text("a key is kept at the office by day")
    updating.update(where.folder)
    said = (where.folder / "index" / "not_indexed.txt").read_text().splitlines()
    assert said[0] == "nothing-1.txt: empty" and len(said) == 7


def test_passages_are_cut_to_what_the_embedder_reads(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    changed = {"chunk_tokens": 500, "overlap_tokens": 40}
    result = checked_run(step(handbook, tiny, settings=changed), context(tmp_path))
    assert result.settings["chunk_tokens"] == 62
    assert any("at most 62 tokens" in note for note in result.notes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus": None}, "has no data.corpus"),
        ({"corpus": "empty"}, "no document in"),
        ({"corpus": "missing"}, "no folder or file"),
        ({"model": "/no/such/model"}, "no model folder '/no/such/model'"),
        ({"model": "step:gone"}, "no earlier step 'gone'"),
        ({"index": "step:gone"}, "no earlier step 'gone'"),
        ({"index": "empty"}, "holds no index"),
        ({"settings": {"overlap_tokens": 20}}, "more than half of chunk_tokens 30"),
        ({"settings": {"language": "klingon"}}, "no language 'klingon'"),
        ({"settings": {"chunk_sise": 20}}, "did you mean 'chunk_size'"),
        ({"settings": {"retriever": "magic"}}, "Invalid enum value 'magic'"),
        ({"questions": [{"question": "a", "document": "gone.md"}]}, "row 1: the corpus has no"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(
    tmp_path: Path, handbook: Path, tiny: str, asked: Asked, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    given: dict[str, Any] = {"corpus": "handbook", "model": tiny, "questions": None} | changes
    for key in ("corpus", "index"):
        if given.get(key) in ("empty", "missing", "handbook"):
            given[key] = tmp_path / given[key] if key == "corpus" else str(tmp_path / given[key])
    if given["questions"]:
        given["questions"] = asked(*given["questions"])
    where = context(tmp_path)
    with pytest.raises(UserError) as caught:
        BACKEND.check(step(**given), where)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list(where.folder.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"k": 0}, "k is 0"), ({"retriever": "magic"}, "no retriever 'magic'")],
)
def test_bad_options_are_refused(
    tmp_path: Path, handbook: Path, tiny: str, options: dict[str, Any], message: str
) -> None:
    where = context(tmp_path)
    checked_run(step(handbook, tiny), where)
    with pytest.raises(UserError, match=message):
        BACKEND.predict(where.folder, ["key?"], **options)
    with pytest.raises(UserError, match="no questions to evaluate on"):
        BACKEND.evaluate(where.folder, Data())
