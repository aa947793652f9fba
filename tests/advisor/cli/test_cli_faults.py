"""Faults in data, plan and environment: one line, exit code 2, and nothing is written."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import backends.base

GOOD = "text,label\n" + "".join(f"message number {n},{'ab'[n % 2]}\n" for n in range(40))


def plan_for(folder: Path, train: bytes, **step: object) -> Path:
    """A plan that trains a head on the given file."""
    (folder / "train.csv").write_bytes(train)
    made = {
        "name": "faulty",
        "steps": [
            {
                "name": "classify",
                "method": "head-ft",
                "model": "all-minilm-l6-v2",
                "data": {"train": "train.csv"},
                **step,
            }
        ],
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(made), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("train", "says"),
    [
        (b"", "empty"),
        (b"text,label\n", "no rows|empty"),
        (b"text,label\n" + b"one text,only\n" * 20, "one class|only 'only'|two classes"),
        (GOOD.replace("number 7,b", "number 7,").encode(), "row 8.*label|label.*row 8"),
        (GOOD.replace("number 3", "num\xe9ro 3").encode("latin-1"), "UTF-8"),
        (b"\x00\x01\x02\x03binary" * 40, "train.csv"),
        (GOOD.replace("text,label", "words,intents").encode(), "words"),
        (b'text,label\n"never closed,a\n', "train.csv"),
    ],
    ids=["empty", "header", "one-class", "gap", "latin-1", "binary", "columns", "quote"],
)  # fmt: skip
def test_a_faulty_file_is_named(command, tmp_path: Path, train: bytes, says: str) -> None:
    done = command("run", plan_for(tmp_path, train), "--out", tmp_path / "out")
    assert done.code == 2, done.err
    assert done.err.startswith("error: ") and len(done.err.strip().splitlines()) == 1
    assert re.search(says, done.err), done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"settings": {"trian": "all"}}, "trian.*did you mean 'train'"),
        ({"settings": {"train": "some"}}, "train"),
        ({"settings": {"num_train_epochs": "many"}}, "epochs"),
        ({"settings": {"epochs": -1}}, "epochs"),
        ({"data": {"train": "nowhere.csv"}}, "nowhere.csv"),
        ({"model": "./no-such-folder"}, "no-such-folder"),
        ({"method": "head-fit"}, "head-ft"),
    ],
)
def test_a_faulty_step_is_named(command, tmp_path: Path, step, says: str) -> None:
    done = command("run", plan_for(tmp_path, GOOD.encode(), **step), "--out", tmp_path / "out")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert re.search(says, done.err), done.err
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_said_with_its_command(command, tmp_path: Path, monkeypatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        backends.base, "find_spec", lambda name: None if name == "transformers" else real(name)
    )
    done = command("run", plan_for(tmp_path, GOOD.encode()), "--out", tmp_path / "out")
    assert done.code == 2
    assert "needs transformers" in done.err and "pip install 'llm-advisor[run]'" in done.err
    assert not (tmp_path / "out").exists()
