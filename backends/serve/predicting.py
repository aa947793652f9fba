"""A service out of `predict`, for backends that have no service of their own."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from backends.base import Backend, Prediction, Turn
from backends.serve.gathering import Gathering

GATHERED = 0.02  # seconds in which questions come together; each call of `predict` loads anew
AT_ONCE = 64


class Predicting:
    """Asks `predict` about what has come together, one call at a time, in a thread."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend = backend
        self._folder = folder
        self._gathering = Gathering(self._predictions, AT_ONCE, GATHERED)

    async def __aenter__(self) -> "Predicting":
        await self._gathering.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._gathering.__aexit__()

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        """What the run says to the last turn; earlier turns are not heeded.

        Raises:
            UserError: it cannot say anything.
        """
        return await self._gathering.answer(turns[-1].content)

    async def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        """The answer in one piece."""
        said = await self.answer(turns)
        yield said.label or said.answer or ""

    def _predictions(self, texts: Sequence[str]) -> list[Prediction]:
        return list(self._backend.predict(self._folder, texts))
