"""A service out of `predict`, for backends that have no service of their own."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends.base import Backend, Prediction, Turn

GATHERED = 0.02  # seconds in which questions come together; each call of `predict` loads anew
AT_ONCE = 64

Waiting = tuple[str, asyncio.Future[Prediction]]


class Predicting:
    """Asks `predict` about what has come together, one call at a time, in a thread."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend = backend
        self._folder = folder

    async def __aenter__(self) -> "Predicting":
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown()

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        """What the run says to the last turn; earlier turns are not heeded.

        Raises:
            UserError: it cannot say anything.
        """
        coming: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((turns[-1].content, coming))
        return await coming

    async def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        """The answer in one piece."""
        said = await self.answer(turns)
        yield said.label or said.answer or ""

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(GATHERED)
            while not self._queue.empty() and len(batch) < AT_ONCE:
                batch.append(self._queue.get_nowait())
            try:
                said = await loop.run_in_executor(
                    self._thread, self._predictions, [text for text, _ in batch]
                )
            except Exception as error:
                for _, coming in batch:
                    if not coming.done():
                        coming.set_exception(error)
                continue
            for (_, coming), prediction in zip(batch, said, strict=True):
                if not coming.done():
                    coming.set_result(prediction)

    def _predictions(self, texts: list[str]) -> list[Prediction]:
        return list(self._backend.predict(self._folder, texts))
