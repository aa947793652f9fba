"""What goes to a model and what comes back, whoever answers: requests, replies, named faults."""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from backends.data import Message

Face: TypeAlias = Literal["chat", "completion"]


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is asked; `sample` tells apart repeated draws of the same question.

    `format` is the `response_format` of the API; `face` says whether the messages go as a chat,
    or, joined by blank lines, as one text to continue.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    sample: int = 0
    face: Face = "chat"
    format: dict[str, Any] | None = None

    def digest(self) -> str:
        """The request's content as a key: equal requests have one answer."""
        return sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def text(self) -> str:
        """The messages as one text, for models that continue texts."""
        return "\n\n".join(message.content for message in self.messages)


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the endpoint counted them; `cached` are among `input`."""

    input: int
    output: int
    cached: int = 0


class Reply(msgspec.Struct, frozen=True):
    """An answer received complete; `usage` is None where the endpoint does not say."""

    text: str
    usage: Usage | None
    cut: bool
    seconds: float


class Passing(Exception):  # noqa: N818 (a fault that another attempt may not meet)
    """An attempt failed and may be repeated.

    `wait` is what the endpoint asked for [s]; `maybe_billed` says that it may have answered.
    """

    def __init__(self, reason: str, *, wait: float | None = None, maybe_billed: bool = False):
        super().__init__(reason)
        self.wait = wait
        self.maybe_billed = maybe_billed


class Declined(Exception):  # noqa: N818 (the endpoint will not answer this one request)
    """The request itself was refused: too long, say. Repeating it changes nothing."""


class Provider(Protocol):
    """Who answers: an endpoint, or a model in this process; an async context manager.

    `name` is shown to people; `identity` tells answers of one provider from those of another.
    """

    name: str
    identity: str

    async def __aenter__(self) -> "Provider":
        """Connect, or load."""

    async def __aexit__(self, *_: object) -> None:
        """Let go."""

    async def answer(self, request: Request) -> Reply:
        """The reply to one request, tried once.

        Raises:
            Passing: try again. Declined: this request will never be answered.
            UserError: nothing will be answered.
        """

    def stream(self, request: Request) -> AsyncIterator[str]:
        """The reply piece by piece, for people who read along; raises as `answer`."""
