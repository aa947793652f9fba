"""`advisor recommend --since`: an earlier JSON compared, on the screen and as JSON."""

from pathlib import Path

import pytest

TASK = "task_type: assistant\ngap: behaviour\nlabelled_examples: {}\ntried: prompt-insufficient\n"


@pytest.fixture
def earlier(command, tmp_path: Path) -> Path:
    (tmp_path / "task.yaml").write_text(TASK.format(5000), encoding="utf-8")
    old = tmp_path / "old.json"
    old.write_text(command("recommend", tmp_path / "task.yaml", "--json").out, encoding="utf-8")
    (tmp_path / "task.yaml").write_text(TASK.format(10), encoding="utf-8")
    return old


def test_what_changed_stands_before_the_reasons(command, earlier: Path) -> None:
    said = command("recommend", earlier.parent / "task.yaml", "--since", earlier).out
    assert "Since the earlier recommendation" in said
    assert said.index("Since the earlier") < said.index("Why")
    assert "labelled_examples is 10, was 5,000" in " ".join(said.split())


def test_what_changed_is_in_the_json(command, earlier: Path) -> None:
    found = command("recommend", earlier.parent / "task.yaml", "--since", earlier, "--json").json
    assert found["since"]["same_answer"] is False
    assert [change["what"] for change in found["since"]["answers"]] == ["labelled_examples"]


def test_a_file_that_holds_none_is_one_line(command, earlier: Path) -> None:
    done = command("recommend", earlier.parent / "task.yaml", "--since", earlier.parent / "no.json")
    assert done.code == 2
    assert "no file" in done.err
