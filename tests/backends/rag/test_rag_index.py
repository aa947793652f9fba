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
        version=1,
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
    place = index.publish(*made("one text", "line\u2028separator", "three"), tmp_path)
    held, said = index.load(tmp_path)
    assert [c.text for c in held.chunks] == ["one text", "line\u2028separator", "three"]
    assert index.load(place)[1] == said
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


def test_a_crash_between_the_two_renames_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.publish(*made("old"), tmp_path)
    rename = Path.rename

    def crash(self: Path, target: Path) -> Path:
        if self.name == "index.new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        index.publish(*made("new"), tmp_path)
    monkeypatch.undo()
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["old"]
    index.publish(*made("new"), tmp_path)
    assert [c.text for c in index.load(tmp_path)[0].chunks] == ["new"]


@pytest.mark.parametrize(
    "file", ["vectors.faiss", "chunks.jsonl", "index.json", "bm25/indptr.csc.index.npy"]
)
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_a_damaged_index_is_refused_in_one_line(tmp_path: Path, file: str, harm: str) -> None:
    path = index.publish(*made("one", "two", "three"), tmp_path) / file
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"^the index in .* is damaged|holds no index") as caught:
        index.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    place = index.publish(*made("one", "two"), tmp_path)
    lines = (place / "chunks.jsonl").read_bytes().splitlines(keepends=True)
    (place / "chunks.jsonl").write_bytes(lines[0])
    with pytest.raises(UserError, match=r"says 2 passages .* the files hold 1 passages, 2 vectors"):
        index.load(tmp_path)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    held, said = made("one")
    index.publish(held, msgspec.structs.replace(said, version=2), tmp_path)
    with pytest.raises(UserError, match="has layout 2, this program reads 1; build it again"):
        index.load(tmp_path)
