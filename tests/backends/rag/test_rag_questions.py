"""Reading questions: what they name must be in the corpus, faults are told by row."""

from collections.abc import Callable

import pytest

from backends.rag.chunks import Chunk
from backends.rag.corpus import naming
from backends.rag.questions import Library, Question, read, right
from knowledge.errors import UserError

TEXTS = {
    "leave.md": "Staff may take\nten days   of leave.",
    "office/keys.md": "Each room has one key.",
    "all.jsonl#k7": "Lost keys are paid.",
    "old/notes.md": "Old.",
    "new/notes.md": "New.",
}
Asked = Callable[..., str]


def read_rows(path: str) -> list[Question]:
    return read(path, Library(naming(TEXTS), TEXTS))


def chunk(document: str, start: int, end: int) -> Chunk:
    return Chunk(document, "", start, end, TEXTS[document][start:end], "")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("leave.md", "leave.md"),
        ("keys", "office/keys.md"),
        ("keys.md", "office/keys.md"),
        ("k7", "all.jsonl#k7"),
        ("old/notes.md", "old/notes.md"),
        ("notes.md", None),
        ("", None),
    ],
)
def test_a_document_is_named_forgivingly_unless_that_is_ambiguous(
    wanted: str, expected: str | None
) -> None:
    assert naming(TEXTS)(wanted) == expected


def test_a_passage_is_found_however_its_white_space_is(asked: Asked) -> None:
    path = asked({"question": "How many?", "passage": "take ten days of"})
    (question,) = read_rows(path)
    assert question.document == "leave.md" and question.span is not None
    start, end = question.span
    assert TEXTS["leave.md"][start:end] == "take\nten days   of"


def test_what_is_right_follows_from_what_the_row_names(asked: Asked) -> None:
    rows = [
        {"question": "a", "document": "leave.md"},
        {"question": "b", "document": "leave.md", "passage": "Staff may take"},
        {"question": "c", "answer": "One Key"},
        {"question": "d", "answers": ["no", "TEN days"]},
        {"question": "e", "answerable": False},
    ]
    questions = read_rows(asked(*rows))
    start, end = chunk("leave.md", 0, 20), chunk("leave.md", 20, 38)
    key = chunk("office/keys.md", 0, 22)
    seen = [[right(q, c) for c in (start, end, key)] for q in questions]
    assert seen == [
        [True, True, False],
        [True, False, False],
        [False, False, True],
        [False, False, False],
        [False, False, False],
    ]
    assert right(questions[3], chunk("leave.md", 0, 30))
    assert [q.asks_for_document() for q in questions] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"document": "leave.md"}, "row 2: no 'question'"),
        ({"question": "a"}, "row 2: none of 'document', 'passage', 'answer'"),
        ({"question": "a", "document": "gone.md"}, "the corpus has no document 'gone.md'"),
        ({"question": "a", "document": "keys", "passage": "ten days"}, "not in 'office/keys.md'"),
        ({"question": "a", "passage": "zebra"}, "the passage 'zebra' is not in the corpus"),
        ({"question": ["a"], "answer": "x"}, "'question' is a list, not text"),
    ],
)
def test_a_faulty_row_is_named(asked: Asked, row: dict[str, object], message: str) -> None:
    path = asked({"question": "fine", "document": "keys"}, row)
    with pytest.raises(UserError) as caught:
        read_rows(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_many_faults_are_told_in_one_line(asked: Asked) -> None:
    bad = [{"question": "a", "document": "gone"}] * 8
    with pytest.raises(
        UserError, match=r"row 1, row 2, .* and 3 more: .*; 1 other row has other faults"
    ):
        read_rows(asked(*bad, {"question": "x"}))
