"""Facts of a dataset, and a fair part held back."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.data import (
    Dataset,
    Labelled,
    Message,
    Messages,
    Text,
    documents,
    groups,
    normalised,
    quantiles,
    read,
    rendered,
    report,
    split,
)
from knowledge.errors import UserError

ROWS = (
    Labelled("Where is my card?", "card", 2),
    Labelled("where is   my card", "card", 3),
    Labelled("WHERE IS MY CARD!", "parcel", 4),
    Labelled("write to ann@example.org or +49 30 123 45 67 89", "other", 5),
)


def dataset(*rows: Labelled) -> Dataset:
    return Dataset(Path("some.csv"), "labelled", rows, {})


def test_the_report_counts_what_it_says() -> None:
    facts = report(dataset(*ROWS), dataset(Labelled("Where is my card", "card", 2)))
    assert facts.labels == {"card": 2, "parcel": 1, "other": 1}
    assert (facts.rows, facts.duplicates, facts.overlap) == (4, 2, 3)
    assert facts.overlap_lines == (2, 3, 4)
    assert (facts.emails, facts.phones) == (1, 1)
    assert facts.conflicts[0].labels == ("card", "parcel")
    assert facts.conflicts[0].lines == (2, 3, 4)
    assert facts.words.max == 10
    assert facts.sample == "text: Where is my card?\nlabel: card"
    assert any("more than one label" in note for note in facts.notes)


def test_without_another_dataset_overlap_is_unknown() -> None:
    facts = report(dataset(Labelled("a", "x", 1)))
    assert facts.overlap is None
    assert facts.notes == ("one class only ('x'): nothing can be learned from it",)


@pytest.mark.parametrize("text", ["order 12345678", "2024-01-01", "price 1,000,000 or 1000000"])
def test_other_numbers_are_no_phone_numbers(text: str) -> None:
    assert report(dataset(Labelled(text, "x", 1))).phones == 0


def test_quantiles_are_lengths_that_occur() -> None:
    found = quantiles(range(1, 101))
    assert (found.min, found.median, found.p90, found.max, found.mean) == (1, 51, 91, 100, 50.5)


def test_a_conversation_is_rendered_with_its_answer() -> None:
    row = Messages((Message("user", "hi " * 300), Message("assistant", "yes")), 1)
    assert rendered(row).startswith("text: user: hi") and rendered(row).endswith("answer: yes")
    assert len(rendered(row)) < 450


def test_normalising_keeps_what_differs() -> None:
    assert normalised("Ｃafé,  au-lait!") == normalised("café au lait")
    assert normalised("कि") != normalised("की")
    assert normalised("+") != normalised("-")


LABELLED = st.lists(
    st.tuples(st.sampled_from([f"text {n}" for n in range(40)]), st.sampled_from("abc")),
    min_size=30,
    max_size=120,
)


@settings(deadline=None)
@given(pairs=LABELLED, share=st.floats(0.1, 0.5), seed=st.integers(0, 5))
def test_a_split_is_a_partition_without_leaks(
    pairs: list[tuple[str, str]], share: float, seed: int
) -> None:
    rows = [Labelled(text, label, line) for line, (text, label) in enumerate(pairs, start=1)]
    try:
        keep, held = split(rows, share, seed)
    except UserError:
        return
    assert sorted(row.line for row in (*keep, *held)) == list(range(1, len(rows) + 1))
    assert not {normalised(row.text) for row in keep} & {normalised(row.text) for row in held}
    assert split(rows, share, seed) == (keep, held)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy"), st.integers(0, 5)),
        min_size=2,
        max_size=40,
    ),
    st.floats(0.1, 0.6),
)
def test_neither_texts_nor_groups_stand_on_both_sides(
    triples: list[tuple[str, str, int]], share: float
) -> None:
    rows = [Labelled(text, label, line) for line, (text, label, _) in enumerate(triples, start=1)]
    kin = {line: str(group) for line, (_, _, group) in enumerate(triples, start=1) if group}
    try:
        keep, held = split(rows, share, 3, kin)
    except UserError:
        return
    assert sorted(row.line for row in (*keep, *held)) == list(range(1, len(rows) + 1))
    assert not {row.text for row in keep} & {row.text for row in held}
    assert not {kin.get(r.line) for r in keep} & {kin.get(r.line) for r in held} - {None}


def test_groups_are_read_by_line_from_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label,customer\na,x,c1\nb,y,\nc,x,c1\n")
    assert groups(path, None) == {}
    assert set(groups(path, "customer").values()) == {"c1"}
    assert [row.line for row in read(path).rows if row.line in groups(path, "customer")] == [2, 4]
    with pytest.raises(UserError, match="custumer"):
        groups(path, "custumer")


def test_each_label_gives_its_share() -> None:
    rows = [Labelled(f"{label} {n}", label, n) for label in "abcd" for n in range(50)]
    keep, held = split(rows, 0.2, 1)
    assert {label: sum(row.label == label for row in held) for label in "abcd"} == dict.fromkeys(
        "abcd", 10
    )
    assert len(keep) == 160
    assert split(rows, 0.2, 2)[1] != held


def test_a_label_with_one_text_stays() -> None:
    rows = [Labelled("only", "rare", 1), *(Labelled(f"t {n}", "x", n) for n in range(2, 12))]
    assert "rare" in {row.label for row in split(rows, 0.5)[0]}


def test_a_split_that_holds_nothing_back_is_refused() -> None:
    with pytest.raises(UserError, match="no row would be in it"):
        split([Text("a", 1), Text("b", 2)], 0.1)
    with pytest.raises(UserError, match=r"of 1 row: no row would"):
        split([Text("a", 1)], 0.1)
    with pytest.raises(UserError, match="between 0 and 1"):
        split([Text("a", 1)], 1.0)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.md").write_text("# A title\n\nBody.")
    (tmp_path / "sub" / "b.txt").write_text("plain")
    (tmp_path / "sub" / "c.rst").write_text("Heading\n=======\n\nBody.")
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "k", "title": "T", "text": "one"}\n{"text": "two"}'
    )
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "image.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "binary.txt").write_bytes(b"\0\1")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "z_again.md").symlink_to(tmp_path / "a.md")
    (tmp_path / "nowhere.md").symlink_to(tmp_path / "gone.md")
    os.mkfifo(tmp_path / "pipe.txt")
    return tmp_path


def test_documents_of_a_folder_and_what_was_left_out(corpus: Path) -> None:
    found, skipped = documents(corpus)
    assert [(one.path, one.title) for one in found] == [
        ("a.md", "A title"),
        ("rows.jsonl#k", "T"),
        ("rows.jsonl#2", None),
        ("sub/b.txt", None),
        ("sub/c.rst", "Heading"),
    ]
    reasons = {one.path: one.reason for one in skipped}
    assert reasons.pop("latin.txt").startswith("latin.txt, line 1: not UTF-8")
    assert "NUL" in reasons.pop("binary.txt")
    assert reasons.pop("image.png") == "no text format here reads .png"
    assert not [path for path in reasons if path.startswith("sub/loop/")]
    assert reasons == {
        ".git": "hidden",
        "empty.md": "empty",
        "sub/loop": "reached already by another path",
        "z_again.md": "reached already by another path",
        "nowhere.md": "a link that leads nowhere",
        "pipe.txt": "not a regular file",
    }


def test_one_file_is_a_corpus_too(corpus: Path) -> None:
    assert [one.path for one in documents(corpus / "a.md")[0]] == ["a.md"]


def test_a_corpus_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        documents(tmp_path)
    with pytest.raises(UserError, match="check the path"):
        documents(tmp_path / "gone")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.png: no text format"):
        documents(tmp_path)
