"""Who writes answers: a model behind an endpoint, or one that lies on this machine."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from backends import weights
from backends.data import Message
from backends.prompting.address import address
from backends.prompting.endpoint import Declined, Endpoint, Passing, Request
from knowledge.errors import UserError

ATTEMPTS = 3
LONGEST_WAIT = 20.0  # seconds that an endpoint may ask to wait before an attempt
TIMEOUT = 120.0
MADE = ("model", "adapter")  # what a tuning step leaves, the merged model first


class Writer(Protocol):
    """Writes answers while it is open."""

    async def said(self, messages: Sequence[Message], max_tokens: int) -> str:
        """What it says to messages.

        Raises:
            UserError: it does not answer.
        """

    def holds(self, messages: Sequence[Message]) -> bool:
        """Whether the messages and an answer are within what it reads."""


Opening = Callable[[], Any]  # to an async context manager of a Writer


class Remote:
    """A model by the name that the endpoint of `OPENAI_BASE_URL` has for it."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint, self._model = endpoint, model

    async def said(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The endpoint's answer, asked again where it fails in passing."""
        request = Request(self._model, tuple(messages), max_tokens)
        host = self._endpoint.where.host
        fault: Exception | None = None
        for attempt in range(ATTEMPTS):
            try:
                return (await self._endpoint.answer(request)).text
            except Declined as declined:
                raise UserError(f"{host} declines the question: {declined}") from None
            except Passing as passing:
                fault = passing
                wait = passing.wait if passing.wait is not None else float(2**attempt) / 2
                if wait > LONGEST_WAIT:
                    break
                if attempt + 1 < ATTEMPTS:
                    await asyncio.sleep(wait)
        raise UserError(f"{host} does not answer ({fault}); try again later")

    def holds(self, messages: Sequence[Message]) -> bool:
        """The endpoint says itself what is too long for it."""
        return True


class Tuned:
    """A model of a folder, in this process: what a tuning step made, or any decoder."""

    def __init__(self, folder: Path) -> None:
        from backends.finetune import generators  # torch, which only this kind of writer needs
        from backends.peft import adapters

        if (folder / "base_model.json").is_file():
            self.generator = adapters.load_generator(folder)
        else:
            self.generator = generators.load(folder)

    async def said(self, messages: Sequence[Message], max_tokens: int) -> str:
        """Its answer, the likeliest token always next; never longer than those it learnt."""
        return next(iter(self.generator.answers([_talk(messages)])))

    def holds(self, messages: Sequence[Message]) -> bool:
        """Whether nothing of the messages would be cut."""
        return self.generator.holds(_talk(messages))


def opening(model: str, place: Path | None) -> Opening:
    """How the writer of that name is opened; one on this machine is loaded here, once.

    Args:
        place: its folder; None for a name of the endpoint's.
    """
    if place is None:

        @asynccontextmanager
        async def remote() -> AsyncIterator[Writer]:
            async with Endpoint(address(), TIMEOUT) as endpoint:
                yield Remote(endpoint, model)

        return remote
    tuned = Tuned(place)

    @asynccontextmanager
    async def here() -> AsyncIterator[Writer]:
        yield tuned

    return here


def home(generator: str | None, artefacts: Mapping[str, Path]) -> Path | None:
    """The folder that a generator's model lies below; None for a name of the endpoint's.

    Raises:
        UserError: it names a step that does not come earlier, or a folder without a model.
    """
    if generator is None:
        return None
    if generator.startswith("step:"):
        name = generator.removeprefix("step:")
        if name not in artefacts:
            raise UserError(
                f"generator {generator!r}: no earlier step {name!r} makes one; check the plan"
            )
        return artefacts[name]
    if generator.startswith((".", "/", "~")) or Path(generator).is_dir():
        return Path(weights.local(generator)).resolve()
    return None


def path_from(generator: str | None, artefacts: Mapping[str, Path], folder: Path) -> str | None:
    """The way from a run folder to a generator's, so that a run can be moved as a whole."""
    place = home(generator, artefacts)
    return None if place is None else os.path.relpath(place, folder)


def model_of(place: Path) -> Path:
    """The folder of the model itself: the place, or what a tuning step left in it.

    Raises:
        UserError: there is none.
    """
    for folder in (place, *(place / name for name in MADE)):
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{str(place)!r} holds no model that could write answers; has its step run?")


def _talk(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as turns; rules go before the question, for templates that know no system."""
    return [{"role": "user", "content": "\n\n".join(one.content for one in messages)}]
