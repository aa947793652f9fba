"""Files of every format and shape, and every way in which they can be wrong."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.data import (
    Completion,
    Judged,
    Labelled,
    Message,
    Messages,
    Preference,
    Ranking,
    Text,
    read,
)
from knowledge.errors import UserError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(folder: Path, *rows: Any) -> Path:
    return written(folder, "rows.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n")


def refused(path: Path, **how: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **how)
    text = str(caught.value)
    assert "\n" not in text
    return text


ONE_OF_EACH = [
    ({"text": "a b"}, "text", Text("a b", 1)),
    ({"text": "a", "label": 3}, "labelled", Labelled("a", "3", 1)),
    ({"Sentence": "a", "Intent": " x "}, "labelled", Labelled("a", "x", 1)),
    ({"prompt": "a", "completion": "b"}, "completion", Completion("a", "b", 1)),
    ({"question": "a", "answer": ["b", "c"]}, "completion", Completion("a", "b", 1, ("c",))),
    (
        {"instruction": "do", "input": "x", "output": "y", "history": [["h", "i"]], "system": "s"},
        "alpaca",
        Messages(
            (
                Message("system", "s"),
                Message("user", "h"),
                Message("assistant", "i"),
                Message("user", "do\nx"),
                Message("assistant", "y"),
            ),
            1,
        ),
    ),
    (
        {"instruction": "do", "instances": [{"input": "", "output": "y"}]},
        "instances",
        Messages((Message("user", "do"), Message("assistant", "y")), 1),
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]},
            ]
        },
        "messages",
        Messages((Message("user", "a"), Message("assistant", "", '[{"id": 1}]')), 1),
    ),
    (
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "3"},
                {"from": "gpt", "value": "b"},
            ],
            "tools": "[]",
        },
        "conversations",
        Messages(
            (
                Message("user", "a"),
                Message("assistant", "", "{}"),
                Message("tool", "3"),
                Message("assistant", "b"),
            ),
            1,
            "[]",
        ),
    ),
    (
        {"prompt": "p", "chosen": "c", "rejected": "r"},
        "preference",
        Preference("p", "c", "r", 1),
    ),
    (
        {
            "conversations": [{"from": "human", "value": "p"}],
            "chosen": {"from": "gpt", "value": "c"},
            "rejected": {"from": "gpt", "value": "r"},
        },
        "preference",
        Preference(
            (Message("user", "p"),), (Message("assistant", "c"),), (Message("assistant", "r"),), 1
        ),
    ),
    (
        {"prompt": "p", "responses": ["a", "b"], "ranking": [2, 1]},
        "ranking",
        Ranking("p", ("a", "b"), (2, 1), 1),
    ),
    ({"prompt": "p", "completion": "c", "label": False}, "kto", Judged("p", "c", False, 1)),
]


@pytest.mark.parametrize(("cells", "shape", "row"), ONE_OF_EACH, ids=lambda value: str(value)[:20])
def test_each_shape_is_recognised(tmp_path: Path, cells: Any, shape: str, row: Any) -> None:
    dataset = read(jsonl(tmp_path, cells))
    assert (dataset.shape, dataset.rows) == (shape, (row,))


def test_preferences_without_a_prompt_share_their_beginning(tmp_path: Path) -> None:
    user, good, bad = ({"role": "user", "content": "p"}, *_answers("c", "r"))
    row = read(jsonl(tmp_path, {"chosen": [user, good], "rejected": [user, bad]})).rows[0]
    assert isinstance(row, Preference)
    assert row.prompt == (Message("user", "p"),)
    assert (row.chosen, row.rejected) == (
        (Message("assistant", "c"),),
        (Message("assistant", "r"),),
    )


def _answers(*texts: str) -> tuple[dict[str, str], ...]:
    return tuple({"role": "assistant", "content": text} for text in texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,category\n"one, two",x\nthree,y\n'),
        ("bom.csv", b'\xef\xbb\xbftext,category\r\n"one, two",x\r\nthree,y\r\n'),
        ("semicolon.csv", "text;category\none, two;x\nthree;y\n"),
        ("a.tsv", "text\tlabel\none, two\tx\nthree\ty\n"),
        ("headless.tsv", "one, two\tx\nthree\ty\nfour\tx\nfive\ty\n"),
        ("swapped.tsv", "x\tone, two\ny\tthree\nx\tfour\ny\tfive\n"),
        ("a.jsonl", '{"text": "one, two", "label": "x"}\n\n{"text": "three", "label": "y"}'),
        ("a.json", '[{"text": "one, two", "label": "x"},\n {"text": "three", "label": "y"}]'),
        (
            "wrapped.json",
            '{"version": 1, "data": [{"text": "one, two", "label": "x"}, '
            '{"text": "three", "label": "y"}], "more": []}',
        ),
        (
            "lines.json",
            '{"text": "one, two", "label": "x"}\n{"text": "three", "label": "y"}\n',
        ),
    ],
)
def test_each_format_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    rows = read(written(tmp_path, name, content)).labelled()
    assert [(row.text, row.label) for row in rows[:2]] == [("one, two", "x"), ("three", "y")]


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet").rows
    assert rows == (Labelled("a", "1", 1), Labelled("b", "2", 2))
    with pytest.raises(UserError, match="not a readable Parquet"):
        read(written(tmp_path, "b.parquet", "no parquet"))


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",x\n\nb,y\n'
    assert [row.line for row in read(written(tmp_path, "a.csv", content)).rows] == [2, 5]
    content = '[\n{"text":\n"a"},\n\n{"text": "b"}]'
    assert [row.line for row in read(written(tmp_path, "a.json", content)).rows] == [2, 5]


def test_shape_and_columns_can_be_set(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "id,phrase,group\n1,hello,x\n2,bye,y\n")
    assert "'phrase'" in refused(path)
    dataset = read(path, columns={"text": "phrase", "label": "group"})
    assert dataset.rows[0] == Labelled("hello", "x", 2)
    assert dataset.columns == {"text": "phrase", "label": "group"}
    assert read(path, shape="text", columns={"text": "phrase"}).rows[1] == Text("bye", 3)
    labelled = written(tmp_path, "b.csv", "text,label\nhello,x\n")
    for name in ("text,label", "classification", "Labelled"):
        assert read(labelled, shape=name).shape == "labelled"
    assert read(labelled, shape="text").rows == (Text("hello", 2),)


def test_what_is_set_wrongly_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,label\nhello,x\n")
    assert "did you mean 'label'" in refused(path, columns={"label": "labbel"})
    assert "did you mean 'text' or 'labelled'" in refused(path, shape="texts,labels")
    assert "'chosen'" in refused(path, shape="preference")
    assert "'answer'" in refused(path, shape="labelled", columns={"answer": "label"})


FAULTY = [
    ("a.csv", "text,label\nhello,x\nbye,\nso,  \n", "'label' is missing in 2 of 3 rows (row 2"),
    ("a.csv", "text,label\n ,x\n", "'text' is empty in 1 of 1 rows (row 1 (line 2))"),
    ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}', "'label' is missing in 1 of 2 rows"),
    ("a.jsonl", '{"text": "a", "label": ["x"]}', "is a list; one label a row"),
    ("a.jsonl", '{"text": 3, "label": "x"}', "'text' is a number '3' where text is needed"),
    ("a.jsonl", '{"text": "a", "label": 0.5}', "is the number 0.5"),
    ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', "line 2: broken JSON"),
    ("a.jsonl", '["a"]\n', "line 1: a row is list"),
    ("a.json", '[{"text": "a"},\n{"text": }]', "line 2: broken JSON"),
    ("a.json", '[{"text": "a"}\n{"text": "b"}]', "line 2: broken JSON (expected ',')"),
    ("a.json", '[{"text": "a"}] x', "something follows"),
    ("a.json", '{"a": [{"x": 1}], "b": [{"x": 1}]}', "2 lists of objects ('a', 'b')"),
    ("a.json", '{"text": "one"}', "no list of objects"),
    ("a.json", '[{"text": "\\ud800"}]', "half of a surrogate pair"),
    ("a.json", "[" * 100_000, "nested too deeply"),
    ("a.json", '[{"title": "t", "paragraphs": []}]', "SQuAD"),
    ("a.csv", "text,label\na,b,c\n", "row 1 (line 2): 3 cells where the header has 2"),
    ("a.csv", "text,label\nalone\n", "row 1 (line 2): 1 cells"),
    ("a.csv", "text,text\na,b\n", "the column 'text' stands 2 times"),
    ("a.csv", 'text,label\n"open,x\nb,y\n', "line 2: a quote opens here and never closes"),
    ("a.csv", 'text,label\n"a"b,x\n', "line 2: a stray quote"),
    ("a.csv", "text,label\n", "has no rows"),
    ("a.csv", "", "is empty"),
    ("a.csv", b"text,label\ncaf\xe9,x\n", "line 2: not UTF-8 (byte 0xe9 at 14); as Windows-1252"),
    ("a.csv", b"text,label\na\x81,x\n", "line 2: not UTF-8 (byte 0x81 at 12); save it"),
    ("a.csv", "text,label\na,b\n".encode("utf-16"), "is UTF-16"),
    ("a.csv", b"text,label\na\0b,x\n", "line 2: NUL at byte 12"),
    ("a.xlsx", b"PK", "save the sheet as CSV"),
    ("a.txt", "hello", "use it as a corpus"),
    ("a.bin", "hello", "no data format '.bin'"),
    ("a.jsonl", '{"messages": [{"role": "user", "content": "a"}]}', "no turn of the assistant"),
    ("a.jsonl", '{"messages": [{"role": "me", "content": "a"}]}', "the speaker 'me'"),
    ("a.jsonl", '{"messages": []}', "empty list of messages"),
    ("a.jsonl", '{"messages": [{"role": "user", "content": ""}]}', "without text"),
    ("a.jsonl", '{"prompt": "p", "responses": ["a"], "ranking": [1]}', "two or more answers"),
    ("a.jsonl", '{"prompt": "p", "responses": ["a", "b"], "ranking": [1]}', "2 whole numbers"),
    ("a.jsonl", '{"prompt": "p", "chosen": "a", "rejected": [1]}', "where a message is needed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), FAULTY, ids=range(len(FAULTY)))
def test_every_fault_is_named(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    text = refused(written(tmp_path, name, content))
    assert said in text
    assert name in text


def test_paths_that_are_no_data_file(tmp_path: Path) -> None:
    assert "no file" in refused(tmp_path / "gone.csv")
    assert "is a folder" in refused(tmp_path)


def test_the_commonest_fault_is_told_and_others_counted(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, *[{"text": "b"}] * 7, {"text": "", "label": "x"}]
    text = refused(jsonl(tmp_path, *rows))
    assert "in 7 of 9 rows (row 2, row 3, row 4, row 5, row 6 and 2 more)" in text
    assert "1 other row has other faults" in text


def test_a_long_cell_is_read(tmp_path: Path) -> None:
    text = "word " * 60_000
    path = written(tmp_path, "a.csv", f'text,label\n"{text}",x\n')
    assert read(path).labelled()[0].text == text


TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t"), min_size=1
).filter(lambda text: text.strip() != "")


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(TEXTS, st.sampled_from(("x", "y z", "7"))), min_size=1, max_size=8))
def test_any_text_survives_json_and_csv(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    import csv
    import io

    folder = tmp_path_factory.mktemp("any")
    objects = [{"text": text, "label": label} for text, label in rows]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerows([("text", "label"), *rows])
    paths = (
        written(folder, "a.json", json.dumps(objects, ensure_ascii=False, indent=1)),
        jsonl(folder, *objects),
        written(folder, "a.csv", table.getvalue()),
    )
    for path in paths:
        assert [(row.text, row.label) for row in read(path).labelled()] == rows


@settings(deadline=None, max_examples=150)
@given(content=st.binary(max_size=80), name=st.sampled_from(("a.csv", "a.json", "a.jsonl")))
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = written(tmp_path_factory.mktemp("bytes"), name, content)
    try:
        read(path)
    except UserError as error:
        assert "\n" not in str(error)
