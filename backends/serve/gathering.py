"""Calls that come from many callers, made together: one batch at a time, in a thread."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Said = TypeVar("Said")


class Gathering(Generic[Asked, Said]):
    """Gives what has come together to one call; an async context manager.

    While a batch is worked on the next one gathers, so batches grow with the load.

    Args:
        work: an answer to each of a batch, in order; called in a thread, never twice at a time.
        most: how many at most go together.
        wait: how long to wait for more after the first [s].
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Said]], most: int, wait: float = 0.0
    ) -> None:
        self._work = work
        self._most = most
        self._wait = wait

    async def __aenter__(self) -> "Gathering[Asked, Said]":
        self._queue: asyncio.Queue[tuple[Asked, asyncio.Future[Said]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)
        self._worker = asyncio.create_task(self._works())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()

    async def answer(self, one: Asked) -> Said:
        """The answer to one; raises what `work` raised on its batch."""
        coming: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((one, coming))
        return await coming

    async def _works(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(self._wait)
            while not self._queue.empty() and len(batch) < self._most:
                batch.append(self._queue.get_nowait())
            wanted = [(one, coming) for one, coming in batch if not coming.done()]  # not given up
            try:
                said = await loop.run_in_executor(
                    self._thread, self._work, [one for one, _ in wanted]
                )
            except Exception as error:
                for _, coming in wanted:
                    if not coming.done():
                        coming.set_exception(error)
                continue
            for (_, coming), answer in zip(wanted, said, strict=True):
                if not coming.done():
                    coming.set_result(answer)
