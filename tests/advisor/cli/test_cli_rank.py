"""Rankings from a person: what is asked, what is saved, how it goes on."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from advisor import ranking
from advisor.ranking import Candidates
from backends import data
from knowledge.errors import UserError

ASKED = [
    Candidates("q1", ("x", "y", "z")),
    Candidates("q2", ("k", "l")),
    Candidates("q3", ("m", "n")),
]


class Typed:
    """A person who types some lines and then leaves."""

    def __init__(self, *lines: str) -> None:
        self.lines, self.shown = list(lines), list[str]()

    def say(self, text: str) -> None:
        self.shown.append(text)

    def read(self, prompt: str) -> str:
        if not self.lines:
            raise EOFError
        return self.lines.pop(0) + "\n"


def collected(out: Path, *lines: str, annotator: str | None = None) -> tuple[list[bool], Typed]:
    seen = Typed(*lines)
    already = ranking.done(out, annotator)
    todo = [one for one in ASKED if one.prompt not in already]
    return list(ranking.collect(todo, out, annotator, seen, len(todo))), seen


def test_an_order_is_saved_at_once_and_can_be_learnt_from(tmp_path: Path) -> None:
    out = tmp_path / "some" / "ranked.jsonl"
    told, seen = collected(out, "c>A=b")
    assert told == [True]
    assert any("C: z" in line for line in seen.shown)
    (row,) = data.read(out).rows
    assert isinstance(row, data.Ranking)
    assert (row.prompt, row.responses, row.ranking) == ("q1", ("x", "y", "z"), (2, 2, 1))


def test_it_goes_on_where_it_stopped_for_each_person(tmp_path: Path) -> None:
    out = tmp_path / "ranked.jsonl"
    collected(out, "a>b>c", "q", annotator="ann")
    told, seen = collected(out, "s", "b>a", annotator="ann")
    assert told == [False, True]
    assert not any("q1" in line for line in seen.shown)
    told, _ = collected(out, "a>b>c", annotator="ben")
    assert told == [True]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["prompt"], row["annotator"]) for row in rows] == [
        ("q1", "ann"), ("q3", "ann"), ("q1", "ben")
    ]  # fmt: skip


def test_what_is_no_order_is_asked_again(tmp_path: Path) -> None:
    out = tmp_path / "ranked.jsonl"
    told, seen = collected(out, "a>d>b", "a>b", "a>a>b", "a=b=c", "", "a>b=c")
    assert told == [True]
    text = "\n".join(seen.shown)
    for said in ("names 'D'", "leaves out C", "names A twice", "all answers tied", "such as A>B>C"):
        assert said in text
    assert len(out.read_text().splitlines()) == 1


def test_a_line_that_was_torn_does_not_swallow_the_next(tmp_path: Path) -> None:
    out = tmp_path / "ranked.jsonl"
    collected(out, "a>b>c")
    out.write_bytes(out.read_bytes().rstrip(b"\n"))
    collected(out, "a>b")
    assert len(out.read_text().splitlines()) == 2
    out.write_bytes(out.read_bytes() + b'{"prompt": "q3", "resp')
    with pytest.raises(UserError, match="line 3 is no ranking"):
        collected(out, "a>b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no prompt"),
        ('{"text": "a"}\n', "line 1: no JSON object with 'prompt'"),
        ('{"prompt": "a", "responses": ["x"]}\n', "1 responses"),
        ('{"prompt": "a", "responses": [1, 2]}\n', "a list of texts"),
    ],
)
def test_prompts_that_cannot_be_used_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        ranking.read(path)


def test_prompts_are_lines_or_json(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text('what is it\n\n{"prompt": "a", "responses": ["x", "y"]}\n')
    assert ranking.read(path) == [Candidates("what is it", ()), Candidates("a", ("x", "y"))]


def test_the_command_says_what_it_collected(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "a", "responses": ["x", "y"]}\n{"prompt": "b"}\n')
    done = command("rank", asked, "--out", tmp_path / "out.jsonl")
    assert done.code == 2 and "--from RUN_DIR" in done.err
    asked.write_text('{"prompt": "a", "responses": ["x", "y"]}\n')
    monkeypatch.setattr("sys.stdin", io.StringIO("b>a\n"))
    done = command("rank", asked, "--out", tmp_path / "out.jsonl", "--json")
    assert done.json == {"out": str(tmp_path / "out.jsonl"), "ranked": 1, "skipped": 0, "left": 0}
    assert "A: x" in done.err
