"""Commands run in this process, as the console script runs them."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from advisor.cli import advisor, guarded


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("estimate", "llama-3.1-8b")` gives exit code, stdout and stderr."""

    def run(*arguments: object) -> Done:
        words = [str(argument) for argument in arguments]
        code = guarded(lambda: advisor.main(words, standalone_mode=False))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run
