"""What every command shares: `--json`, `--quiet`, the two consoles, and progress bars."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console

Command = TypeVar("Command", bound=Callable[..., Any])


def common(command: Command) -> Command:
    """Give a command `--json` and `--quiet`."""
    command = click.option(
        "--quiet", "-q", is_flag=True, help="Only the result: no progress, no notes."
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else."
    )(command)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def screen() -> "Console":
    """The console on stdout, for results."""
    from rich.console import Console  # 20 ms that --json does not pay

    return Console(highlight=False, soft_wrap=False)


def notes(*, quiet: bool = False) -> "Console":
    """The console on stderr, for progress and remarks."""
    from rich.console import Console  # as above

    return Console(stderr=True, highlight=False, quiet=quiet)
