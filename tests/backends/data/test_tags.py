import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import data
from backends.data import Span, Tagged
from backends.data.tags import of_tags, of_values
from knowledge.errors import UserError

WORDS = ["Anna", "Lee", "flew", "to", "New", "York"]


def written(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "tags",
    [
        ["B-person", "I-person", "O", "O", "B-place", "I-place"],
        ["B-person", "E-person", "O", "O", "B-place", "L-place"],
        ["person", "person", "O", "O", "place", "place"],
    ],
)
def test_tags_of_every_school_mark_the_same_spans(tmp_path: Path, tags: list[str]) -> None:
    found = data.read(written(tmp_path / "a.jsonl", {"tokens": WORDS, "ner_tags": tags}))
    assert found.shape == "tagged"
    row = found.rows[0]
    assert isinstance(row, Tagged)
    assert row.text == "Anna Lee flew to New York"
    assert row.spans == (Span(0, 8, "person"), Span(17, 25, "place"))
    assert json.loads(row.found())[1] == {
        "label": "place", "text": "New York", "start": 17, "end": 25
    }  # fmt: skip


def test_spans_come_as_objects_or_lists(tmp_path: Path) -> None:
    objects = {"text": "to York", "entities": [{"start": 3, "end": 7, "type": "place"}]}
    lists = {"text": "to York", "entities": [[3, 7, "place"]]}
    found = data.read(written(tmp_path / "a.jsonl", objects, lists))
    assert found.shape == "spans"
    assert [row.spans for row in found.rows if isinstance(row, Tagged)] == 2 * [
        (Span(3, 7, "place"),)
    ]
    assert data.report(found).labels == {"place": 2}
    assert "one class only" not in " ".join(data.report(found).notes)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "holds 1 tags for 2 words"),
        ({"tokens": ["a"], "tags": [3]}, "holds numbers for tags"),
        ({"text": "ab", "spans": [[0, 3, "x"]]}, "from 0 to 3 in a text of 2 characters"),
        ({"text": "ab", "spans": [[0, 2, "x"], [1, 2, "y"]]}, "has 'y' at 1 over 'x' at 0"),
        ({"text": "ab", "spans": [[0, 2]]}, "no {start, end, label}"),
    ],
)
def test_spans_that_cannot_be_are_named(tmp_path: Path, row: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        data.read(written(tmp_path / "a.jsonl", row))


@given(st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=1, max_size=12))
def test_spans_of_tags_are_spans_of_places(tags: list[str]) -> None:
    text, spans = of_tags(["w" * (n % 3 + 1) for n in range(len(tags))], tags)
    assert of_values(text, [[one.start, one.end, one.label] for one in spans]) == spans
    assert sum(tag[0] == "B" for tag in tags) <= len(spans) <= sum(tag != "O" for tag in tags)
