"""What the tests of runs share: a server, steps, and what a run wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, serving

from backends.base import Context, Data, Step, StepResult
from backends.prompting import BACKEND


def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server that the environment names."""
    with serving() as state:
        monkeypatch.setenv("OPENAI_BASE_URL", state.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-test")
        yield state


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    """The path of a file with the rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ran(folder: Path, data: Data, model: str = "small", **settings: Any) -> StepResult:
    """A step checked and run in a folder."""
    folder.mkdir(exist_ok=True)
    usual = {"backoff_s": 0.01, "concurrency": 4, "cache": False}
    step = Step("ask", "prompt", model=model, data=data, settings={**usual, **settings})
    BACKEND.check(step, Context(folder))
    return BACKEND.run(step, Context(folder))


def outcomes(folder: Path) -> list[dict[str, Any]]:
    """The lines of `predictions.jsonl`."""
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
