"""What fails with a user's file is one line."""

from pathlib import Path

import pytest

from knowledge.errors import UserError
from knowledge.files import made_folder, text_of, write_text


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = made_folder(tmp_path / "a" / "b") / "c.txt"
    write_text(path, "größer\n")
    assert text_of(path, "text file") == "größer\n"


def test_reading_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"ab\xff")
    for path, says in (
        (tmp_path / "none", "no file"),
        (tmp_path, "is a folder; give a plan"),
        (tmp_path / "bytes", "not UTF-8 .byte 2"),
    ):
        with pytest.raises(UserError, match=says):
            text_of(path, "plan")


def test_writing_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, says in (
        (tmp_path / "none" / "x", "no folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "x", "cannot write"),
    ):
        with pytest.raises(UserError, match=says):
            write_text(path, "text")
    with pytest.raises(UserError, match="cannot make the folder"):
        made_folder(tmp_path / "file" / "x")
