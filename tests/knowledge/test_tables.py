"""The loader refuses unknown keys, missing sources and duplicates, with file and row."""

from pathlib import Path

import msgspec
import pytest

from knowledge.errors import UserError
from knowledge.tables import by_id, csv_rows, jsonl_rows, yaml_rows, yaml_value


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    source: str
    value: float | None = None


def test_an_empty_csv_cell_is_absent_not_zero(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text("id,source,value\na,here,\nb,there,2.5\n", encoding="utf-8")
    assert list(csv_rows(path, Fact)) == [Fact("a", "here"), Fact("b", "there", 2.5)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,source,colour\na,here,red\n", r"facts.csv, line 2: .*colour"),
        ("id,source\na,\n", r"facts.csv, line 2: .*source"),
        ("id,source,value\na,here,much\n", r"facts.csv, line 2: .*value"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        list(csv_rows(path, Fact))


def test_duplicates_are_refused() -> None:
    with pytest.raises(UserError, match="facts: 'a' stands twice"):
        by_id(iter([Fact("a", "x"), Fact("a", "y")]), "facts")


def test_json_lines_and_yaml_name_the_row(tmp_path: Path) -> None:
    lines = tmp_path / "facts.jsonl"
    lines.write_text('{"id":"a","source":"s"}\n\n{"id":"b"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"facts.jsonl, line 3"):
        list(jsonl_rows(lines, Fact))
    listed = tmp_path / "facts.yaml"
    listed.write_text("- {id: a, source: s}\n- {id: b, source: s, valeu: 1}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"facts.yaml, row 2: .*valeu"):
        list(yaml_rows(listed, Fact))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [1,", "not valid YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        yaml_value(path)
    assert "\n" not in str(caught.value)
