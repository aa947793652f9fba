"""Changes in place: only what changed is embedded, nothing that was deleted is found again."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings as bounded
from hypothesis import strategies as st

from backends.base import Context, Data, Interrupted, Step
from backends.data import Document
from backends.rag import BACKEND, index, updating
from backends.rag.asking import Answerer, Asked
from backends.rag.corpus import Given
from backends.rag.updating import update
from knowledge.errors import UserError

SMALL = {"chunk_tokens": 30, "overlap_tokens": 5}


@pytest.fixture
def run(tmp_path: Path, handbook: Path, tiny: str) -> Path:
    """A finished run over the handbook."""
    return indexed(tmp_path / "run", handbook, tiny)


def indexed(folder: Path, corpus: Path, model: str, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    step = Step(
        "answer", "rag", model=model, data=Data(corpus=str(corpus)), settings=SMALL | settings
    )
    BACKEND.run(step, Context(folder=folder))
    return folder


def held(folder: Path) -> dict[str, list[str]]:
    """The passages of every document, by name."""
    found: dict[str, list[str]] = {}
    for chunk in index.load(folder)[0].chunks:
        found.setdefault(chunk.document, []).append(chunk.text)
    return found


def source(name: str, text: str) -> Given:
    return Given(name, text, (Document(name, text),))


def test_a_folder_is_followed_and_only_what_changed_is_embedded(run: Path, handbook: Path) -> None:
    same = update(run)
    assert same.nothing and same.unchanged == 2 and same.generation == 1
    (handbook / "new.txt").write_text("A new page says that the door is open until ten.")
    (handbook / "office" / "keys.txt").unlink()
    leave = (handbook / "leave.md").read_text()
    (handbook / "leave.md").write_text(leave + "\n## More\n\nOne more line.\n")
    change = update(run)
    assert (change.added, change.replaced, change.deleted) == (1, 1, 1)
    assert change.embedded == 2 and change.generation == 2
    assert set(held(run)) == {"new.txt", "leave.md"}
    assert held(run)["leave.md"][-1] == "One more line."
    assert update(run).nothing


def test_an_updated_index_is_the_one_that_would_be_built(
    run: Path, handbook: Path, tiny: str, tmp_path: Path
) -> None:
    (handbook / "new.txt").write_text("A new page says that the door is open until ten.")
    (handbook / "leave.md").unlink()
    update(run)
    fresh = indexed(tmp_path / "fresh", handbook, tiny)
    questions = ["When is the door open?", "Who must return the key?", "ten"]
    for retriever in ("dense", "bm25", "hybrid"):
        how = Asked(retriever=retriever, k=3)
        one, other = (Answerer(folder).passages(questions, how) for folder in (run, fresh))
        assert [[c["passage"] for c in hits] for hits in one] == [
            [c["passage"] for c in hits] for hits in other
        ]
        for mine, theirs in zip(one, other, strict=True):
            assert [c["score"] for c in mine] == pytest.approx([c["score"] for c in theirs])


def test_sources_are_added_replaced_and_deleted_by_name(run: Path) -> None:
    before = set(held(run))
    change = update(run, given=[source("note", "The door is open. Take your key.")])
    assert change.added == 1 and "note" in held(run)
    again = update(run, given=[source("note", "The door is open. Take your key.")])
    assert again.nothing
    replaced = update(run, given=[source("note", "The door is closed.")])
    assert replaced.replaced == 1 and held(run)["note"] == ["The door is closed."]
    assert update(run, delete=["note"]).deleted == 1
    assert set(held(run)) == before
    with pytest.raises(UserError, match="the index has no source 'note'"):
        update(run, delete=["note"])


def test_everything_may_be_deleted_and_come_back(run: Path, handbook: Path) -> None:
    update(run, delete=["leave.md", "office/keys.txt"])
    (said,) = BACKEND.predict(run, ["key?"])
    assert said.abstained and said.citations == ()
    assert update(run).added == 2
    (said,) = BACKEND.predict(run, ["key?"])
    assert said.citations


TEXTS = st.text(alphabet="abk eyroomdoor .\n", min_size=1, max_size=80).filter(str.strip)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "delete"]), st.sampled_from("pqr"), TEXTS),
    min_size=1,
    max_size=6,
)


@bounded(max_examples=15, deadline=None)
@given_by(steps=STEPS)
def test_whatever_is_done_the_index_holds_what_it_was_given(
    steps: list[tuple[str, str, str]], base: Path, embedder: Any
) -> None:
    expected: dict[str, str] = {}
    for act, name, text in steps:
        if act == "add":
            options: dict[str, Any] = {"given": [source(name, text)]}
            expected[name] = text
        elif name in expected:
            options = {"delete": [name]}
            del expected[name]
        else:
            continue
        update(base, embedder=embedder, **options)
        if act == "add":
            before = index.manifest(base)
            assert update(base, embedder=embedder, **options).nothing  # twice is once
            assert index.manifest(base) == before
        check_whole(base, expected, embedder)
    if expected:
        update(base, embedder=embedder, delete=list(expected))
    check_whole(base, {}, embedder)


def check_whole(folder: Path, expected: dict[str, str], embedder: Any) -> None:
    """Hold passages, vectors and words against what was given, leaving the copies out."""
    import numpy as np

    from backends.rag import vectors

    now, said = index.load(folder)
    found: dict[str, list[str]] = {}
    for chunk in now.chunks:
        found.setdefault(chunk.document, []).append(chunk.text)
        text = expected[chunk.document]
        assert text[chunk.start : chunk.end] == chunk.text
    assert set(found) == {entry.name for entry in now.catalogue.documents}
    assert set(now.catalogue.sources) == set(expected)
    copies = {name for name, one in now.catalogue.sources.items() if one.copy_of}
    assert set(found) == set(expected) - copies
    every = vectors.at(now.nearest, np.arange(len(now.chunks)))
    fresh = embedder.passages([chunk.searched for chunk in now.chunks])
    assert np.allclose(every, fresh, atol=1e-5)
    for at, chunk in enumerate(now.chunks):
        words = [word for word in chunk.text.split() if word.isalpha()]
        if words:
            assert now.words.shares(" ".join(words))[at] > 0
    assert said.passages == len(now.chunks)


@pytest.fixture(scope="module")
def embedder(tiny: str) -> Any:
    from backends.rag import embedder as embedders

    return embedders.load(tiny)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Path:
    """A run whose index is emptied, to fill by hand."""
    place = tmp_path_factory.mktemp("base")
    (place / "corpus").mkdir()
    (place / "corpus" / "first.txt").write_text("The first page.")
    run = indexed(place / "run", place / "corpus", tiny)
    update(run, delete=["first.txt"])
    return run


def test_a_copy_takes_the_place_of_its_original_when_that_goes(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    (handbook / "zcopy.txt").write_text((handbook / "office" / "keys.txt").read_text().upper())
    run = indexed(tmp_path / "run", handbook, tiny)
    assert "office/keys.txt" not in held(run) and "zcopy.txt" in held(run)
    (handbook / "zcopy.txt").unlink()
    update(run)
    assert set(held(run)) == {"leave.md", "office/keys.txt"}


def test_an_interrupted_change_leaves_the_index_and_goes_on(run: Path, handbook: Path) -> None:
    for number in range(40):
        text = f"# Room {number}\n\nThe key of room {number} is in office {number}."
        (handbook / f"room{number}.md").write_text(text)
    stops = iter([False] * 40 + [True] * 9)
    with pytest.raises(Interrupted):
        update(run, should_stop=lambda: next(stops))
    assert set(held(run)) == {"leave.md", "office/keys.txt"}
    assert update(run).added == 40


def test_readers_see_the_change_without_opening_anew(run: Path) -> None:
    answerer = Answerer(run)
    assert answerer.manifest.generation == 1
    update(run, given=[source("note", "A zebra is in the room.")])
    (hits,) = answerer.passages(["zebra"], Asked(retriever="bm25"))
    assert hits[0]["document"] == "note" and answerer.manifest.generation == 2


def test_many_threads_ask_while_the_index_changes(run: Path, embedder: Any) -> None:
    answerer, faults = Answerer(run), []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                said = answerer.answers(["Who must return the key?"], Asked(abstain_below=0))
                assert said[0].citations
            except Exception as error:
                faults.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(8):
        update(run, embedder=embedder, given=[source(f"n{number}", f"The door {number} is open.")])
    done.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert answerer.manifest.generation == 9


def test_a_watched_folder_is_followed(run: Path, handbook: Path) -> None:
    stop, seen = threading.Event(), []
    thread = threading.Thread(
        target=updating.watched, args=(run, seen.append), kwargs={"stop": stop}
    )
    thread.start()
    try:
        wait_until(lambda: threading.active_count() > 1)
        time.sleep(1)  # the watcher says nowhere that it has begun
        (handbook / "new.txt").write_text("The door is open.")
        wait_until(lambda: bool(seen))
    finally:
        stop.set()
        thread.join(20)
    assert seen[0].added == 1 and "new.txt" in held(run)


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_index_of_another_embedder_is_not_changed(
    run: Path, handbook: Path, other_tiny: str
) -> None:
    from backends.rag import embedder as embedders

    (handbook / "new.txt").write_text("The door is open.")
    with pytest.raises(UserError, match="was made with the embedder"):
        update(run, embedder=embedders.load(other_tiny))
    assert set(held(run)) == {"leave.md", "office/keys.txt"}


def test_what_is_no_index_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no index"):
        update(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_failing_files_are_remembered_and_told_once(run: Path, handbook: Path) -> None:
    (handbook / "bad.pdf").write_bytes(b"%PDF damaged")
    change = update(run)
    assert change.added == 1 and any("bad.pdf" in note for note in change.notes)
    assert update(run).nothing
    lines = json.loads((run / "index" / "000002" / "sources.json").read_bytes())
    assert "damaged" in lines["sources"]["bad.pdf"]["skipped"]
