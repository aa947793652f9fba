"""A run folder served until the process is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import backends
from backends import runner
from backends.base import Service, Turn
from backends.serve.http import Server, listening
from backends.serve.predicting import Predicting

STOPS = (signal.SIGINT, signal.SIGTERM)
# Models are asked in threads. With Python's usual 5 ms each of their steps may wait so long for
# the thread that speaks HTTP; a hundred users of an index were answered faster with this, 0.60 of
# the bare encoder's rate instead of 0.53 (benchmarks/RAG.md).
TURN = 0.0005  # seconds


def service(folder: Path, budget_usd: float | None = None) -> tuple[str, Service]:
    """The name of the run in a folder, and what answers for it.

    Raises:
        UserError: the folder is no finished run, or its backend cannot serve it.
    """
    step = runner.last_step(folder)
    backend = backends.load(step.method)
    made = backend.service(folder, budget_usd=budget_usd)
    return folder.resolve().name, made if made is not None else Predicting(backend, folder)


def stream(folder: Path, text: str, show: Callable[[str], None]) -> None:
    """Show what a finished run says to one text, piece by piece as it comes.

    Raises:
        UserError: the run cannot be asked, or its answer broke off.
    """
    _, made = service(folder)

    async def main() -> None:
        async with made:
            async for piece in made.stream((Turn("user", text),)):
                show(piece)

    asyncio.run(main())


def serve(
    folder: Path,
    host: str,
    port: int,
    key: str | None,
    at_once: int,
    budget_usd: float | None,
    ready: Callable[[str, int], None],
) -> None:
    """Serve a finished run until SIGINT or SIGTERM.

    Args:
        port: 0 for any that is free.
        key: what callers have to show; None lets everybody in.
        ready: told the run's name and the port once it is open.
    Raises:
        UserError: the run cannot be served, or the address is taken.
    """
    name, made = service(folder, budget_usd)
    sys.setswitchinterval(TURN)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, stop.set)
        async with made:
            server = Server(made, name, key, at_once)
            await listening(server, host, port, lambda opened: ready(name, opened), stop)

    asyncio.run(main())
