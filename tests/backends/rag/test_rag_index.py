"""The artefact: whole or not there, damage refused in a line, an older one replaced safely."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from backends.rag import index, vectors, words
from backends.rag.chunks import Chunk
from backends.rag.index import Index, Manifest
from knowledge.errors import UserError


def made(*texts: str) -> tuple[Index, Manifest]:
    chunks = [Chunk("d", "", 0, len(text), text, text) for text in texts]
    rows = np.eye(len(texts), 4, dtype=np.float32)
    held = Index(chunks, vectors.built(rows), words.build(texts, "english"))
    said = Manifest(
        version=index.VERSION,
        embedder="tiny",
        embedder_path=None,
        embedder_fingerprint="f" * 32,
        dimensions=4,
        precision="fp32",
        chunk_tokens=30,
        overlap_tokens=5,
        language="english",
        documents=1,
        passages=len(texts),
        retriever="hybrid",
        dense_weight=0.5,
        top_k=5,
        answer_sentences=2,
        abstain_below=0.4,
    )
    return held, said


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    said = index.publish(*made("one text", "line\u2028separator", "three"), tmp_path)
    held, _ = index.load(tmp_path)
    assert [c.text for c in held.chunks] == ["one text", "line\u2028separator", "three"]
    assert index.load(tmp_path / "index")[1] == said and said.generation == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index"]


def test_a_crash_while_writing_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.publish(*made("old"), tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(index, "_flush", crash)
    with pytest.raises(KeyboardInterrupt):
        index.publish(*made("new", "texts"), tmp_path)
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["old"]
    monkeypatch.undo()
    index.publish(*made("new", "texts"), tmp_path)
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["new", "texts"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index"]


def test_a_crash_before_the_manifest_is_replaced_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.publish(*made("old"), tmp_path)

    def crash(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        index.publish(*made("new"), tmp_path)
    monkeypatch.undo()
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["old"]
    index.publish(*made("new"), tmp_path)
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["new"]


def test_a_reader_goes_on_with_the_version_that_it_has_opened(tmp_path: Path) -> None:
    index.publish(*made("first"), tmp_path)
    held, _ = index.load(tmp_path)
    for text in ("second", "third", "fourth"):
        index.publish(*made(text), tmp_path)
    assert [chunk.text for chunk in held.chunks] == ["first"]
    assert vectors.at(held.nearest, np.array([0]))[0].tolist() == [1, 0, 0, 0]
    assert held.words.shares("first")[0] > 0
    assert sorted(p.name for p in (tmp_path / "index").iterdir()) == [
        "000003",
        "000004",
        "index.json",
    ]


def test_two_writers_are_kept_apart(tmp_path: Path) -> None:
    index.publish(*made("one"), tmp_path)
    with (
        index.locked(tmp_path),
        pytest.raises(UserError, match="another process is changing"),
        index.locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "file", ["vectors.faiss", "chunks.jsonl", "index.json", "bm25/indptr.csc.index.npy"]
)
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, file: str, harm: str) -> None:
    index.publish(*made("one", "two", "three"), tmp_path)
    place = tmp_path / "index"
    path = place / file if file == "index.json" else place / "000001" / file
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"^the index in .* is damaged|holds no index") as caught:
        index.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    said = index.publish(*made("one", "two"), tmp_path)
    manifest = tmp_path / "index" / "index.json"
    manifest.write_bytes(msgspec.json.encode(msgspec.structs.replace(said, passages=3)))
    with pytest.raises(UserError, match=r"says 3 passages .* the files hold 2 passages, 2 vectors"):
        index.load(tmp_path)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    held, said = made("one")
    index.publish(held, msgspec.structs.replace(said, version=1), tmp_path)
    with pytest.raises(UserError, match="has layout 1, this program reads 5; build it again"):
        index.load(tmp_path)
