"""One OpenAI-compatible endpoint: a request in, a reply or a named fault out.

The `openai` client carries the bytes, with its own retries off: what an attempt may cost has to
be reserved before it is sent, so attempts are counted in `backends.prompting.asking`.
"""

import asyncio
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from hashlib import sha256
from time import perf_counter, time
from typing import Any

import msgspec
import openai

from backends.data import Message
from backends.prompting.address import Address
from knowledge.errors import UserError

LONGEST_WAIT = 300.0  # seconds; who is asked to wait longer had better come back with --resume
NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol")


class Request(msgspec.Struct, frozen=True):
    """What is asked; `sample` tells apart repeated draws of the same question."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    sample: int = 0

    def digest(self) -> str:
        """The request's content as a key: equal requests have one answer."""
        return sha256(msgspec.json.encode(self)).hexdigest()


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


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class Endpoint:
    """A connection to an endpoint; use it as an async context manager."""

    def __init__(self, where: Address, timeout: float) -> None:
        self.where = where
        self._timeout = timeout
        self._limit_name = "max_tokens"
        self._with_temperature = True

    async def __aenter__(self) -> "Endpoint":
        # A proxy of the environment would be asked for 127.0.0.1 too, where it finds itself.
        http = openai.DefaultAsyncHttpxClient(trust_env=not self.where.local)
        self._client = openai.AsyncOpenAI(
            api_key=self.where.key or "none",
            base_url=self.where.url,
            timeout=self._timeout,
            max_retries=0,
            http_client=http,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def answer(self, request: Request) -> Reply:
        """The reply to one request, tried once.

        Raises:
            Passing: try again. Declined: this request will never be answered.
            UserError: nothing will be answered: wrong key, unknown model, no quota.
        """
        begun = perf_counter()
        arguments = self._arguments(request)
        try:
            async with asyncio.timeout(self._timeout):
                raw = await self._client.chat.completions.with_raw_response.create(**arguments)
        except (TimeoutError, openai.APITimeoutError) as error:
            sent = type(error.__cause__).__name__ not in NOT_SENT
            reason = f"no answer within {self._timeout:g} s"
            raise Passing(reason, maybe_billed=sent) from None
        except openai.APIConnectionError as error:
            sent = type(error.__cause__).__name__ not in NOT_SENT
            reason = f"{self.where.host} " + ("cut the connection" if sent else "is unreachable")
            raise Passing(reason, maybe_billed=sent) from None
        except openai.APIStatusError as error:
            raise self._status_fault(error, arguments) from None
        return _reply(raw.content, perf_counter() - begun)

    def _arguments(self, request: Request) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            self._limit_name: request.max_tokens,
            "extra_headers": {"Idempotency-Key": request.digest()},
        }
        if self._with_temperature:
            arguments["temperature"] = request.temperature
        return arguments

    def _status_fault(self, error: Any, arguments: Mapping[str, Any]) -> Exception:
        status: int = error.status_code
        said = self._said(error)
        if status in (401, 403):
            return UserError(
                f"{self.where.host} refuses the key ({status}: {said}); check OPENAI_API_KEY"
            )
        if status == 404:
            return UserError(
                f"{self.where.host} knows no model {arguments['model']!r} ({said}); check "
                f"the step's model and OPENAI_BASE_URL"
            )
        if status == 402 or error.code == "insufficient_quota":
            return UserError(
                f"{self.where.host}: the account has nothing left ({said}); top it up, then go on "
                f"with --resume"
            )
        if status in (408, 409, 425, 429) or status >= 500:
            wait = retry_after(error.response.headers)
            if wait is not None and wait > LONGEST_WAIT:
                return UserError(
                    f"{self.where.host} asks to wait {wait:,.0f} s; go on then with --resume"
                )
            return Passing(f"{status}: {said}", wait=wait, maybe_billed=status == 504)
        if status == 400 and self._adapted(arguments, error.param or said, said):
            return Passing(f"other parameters are wanted: {said}", wait=0.0)
        return Declined(f"{status}: {said}")

    def _adapted(self, arguments: Mapping[str, Any], named: str, said: str) -> bool:
        """Whether the attempt sent a parameter that newer models refuse; it is not sent again."""
        if "max_tokens" in arguments and "max_completion_tokens" in said:
            self._limit_name = "max_completion_tokens"
            return True
        if "temperature" in arguments and "temperature" in named:
            self._with_temperature = False
            return True
        return False

    def _said(self, error: Any) -> str:
        """The endpoint's message in one line, without the key that some repeat in it."""
        body = error.body if isinstance(error.body, dict) else {}
        text = str(body.get("message") or error.message)
        if self.where.key:
            text = text.replace(self.where.key, "***")
        return " ".join(text.split())[:200]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait that a reply asks for [s]: a number, or a date of HTTP."""
    value = headers.get("retry-after", "").strip()
    milliseconds = headers.get("retry-after-ms", "").strip()
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        if not value:
            return None
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None


def _reply(content: bytes, seconds: float) -> Reply:
    try:
        completion = msgspec.json.decode(content, type=_Completion)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"the answer is no chat completion ({error})"
        raise Passing(reason, maybe_billed=True) from None
    if not completion.choices:
        raise Passing("the answer holds no choices", maybe_billed=True)
    first = completion.choices[0]
    return Reply(
        text=first.message.content or "",
        usage=_usage(completion.usage),
        cut=first.finish_reason == "length",
        seconds=seconds,
    )


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached or 0)
