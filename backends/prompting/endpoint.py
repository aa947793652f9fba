"""One OpenAI-compatible endpoint: a request in, a reply or a named fault out.

aiohttp carries the bytes, at a tenth of the processor time of the `openai` client. Nothing is
retried here: what an attempt may cost has to be reserved before it is sent, so attempts are
counted in `backends.prompting.asking`.
"""

from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from io import BytesIO
from time import perf_counter, time
from typing import Any

import aiohttp
import msgspec

from backends.prompting.address import Address
from backends.prompting.exchange import Declined, Passing, Reply, Request, Usage
from knowledge.errors import UserError

LONGEST_WAIT = 300.0  # seconds; who is asked to wait longer had better come back with --resume
LARGE = 2**20  # bytes
PATHS = {"chat": "/chat/completions", "completion": "/completions"}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def words(self) -> str:
        """What was said, in whichever of the three places."""
        said = self.message or self.delta
        return (said.content if said is not None else self.text) or ""


class Completion(msgspec.Struct):
    """The part of an answer's JSON that is read; everything else is let pass."""

    choices: list[_Choice]
    usage: _Usage | None = None

    def reply(self, seconds: float) -> Reply:
        """The answer as a reply.

        Raises:
            Passing: it holds no choices.
        """
        if not self.choices:
            raise Passing("the answer holds no choices", maybe_billed=True)
        first = self.choices[0]
        return Reply(first.words, _usage(self.usage), first.finish_reason == "length", seconds)


_COMPLETION = msgspec.json.Decoder(Completion)


class Endpoint:
    """A connection to an endpoint; use it as an async context manager."""

    def __init__(self, where: Address, timeout: float, connections: int = 0) -> None:
        self.where = where
        self.name = where.host
        self.identity = where.plain
        self._timeout = timeout
        self._connections = connections
        self._limit_name = "max_tokens"
        self._with_temperature = True

    async def __aenter__(self) -> "Endpoint":
        # A proxy of the environment would be asked for 127.0.0.1 too, where it finds itself.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"Content-Type": "application/json", **self.where.headers()},
            trust_env=not self.where.local,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def answer(self, request: Request) -> Reply:
        """The reply to one request, tried once.

        Raises:
            Passing: try again. Declined: this request will never be answered.
            UserError: nothing will be answered: wrong key, unknown model, no quota.
        """
        begun = perf_counter()
        body = self._body(request)
        try:
            async with self._session.post(
                self._url(request), data=_sent(body), headers=_idempotent(request)
            ) as response:
                content = await response.read()
                if response.status != 200:  # some repeat the key, and tracebacks may show this
                    content = self._masked(content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._fault(error) from None
        if response.status != 200:
            raise self._status_fault(response.status, response.headers, content, body)
        try:
            completion = _COMPLETION.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = f"the answer is no completion ({error})"
            raise Passing(reason, maybe_billed=True) from None
        return completion.reply(perf_counter() - begun)

    async def stream(self, request: Request) -> AsyncIterator[str]:
        """The reply piece by piece.

        Raises:
            Passing, Declined, UserError: as `answer`; also when the stream ends without its end,
                or is no stream of completions. What came before has been yielded.
        """
        body = self._body(request) | {"stream": True}
        try:
            async with self._session.post(
                self._url(request), data=_sent(body), headers=_idempotent(request)
            ) as response:
                if response.status != 200:
                    content = self._masked(await response.read())
                    raise self._status_fault(response.status, response.headers, content, body)
                ended = False
                async for line in response.content:
                    data = line.strip()
                    if not data.startswith(b"data:"):
                        continue
                    data = data.removeprefix(b"data:").strip()
                    if data == b"[DONE]":
                        return
                    piece, over = _piece(data)
                    ended = ended or over
                    if piece:
                        yield piece
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._fault(error) from None
        if not ended:
            raise Passing(f"{self.name} cut the stream", maybe_billed=True)

    def _url(self, request: Request) -> str:
        return self.where.plain + PATHS[request.face]

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model}
        if request.face == "chat":
            body["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
            body[self._limit_name] = request.max_tokens
        else:
            body["prompt"] = request.text
            body["max_tokens"] = request.max_tokens
        if self._with_temperature:
            body["temperature"] = request.temperature
        if request.format is not None:
            body["response_format"] = request.format
        return body

    def _fault(self, error: Exception) -> Passing:
        """A fault below HTTP. Only where no connection was made is it sure that nothing is billed.

        A timeout while connecting is an error of both kinds, so connections come first.
        """
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return Passing(f"{self.name} is unreachable")
        if isinstance(error, TimeoutError):
            return Passing(f"no answer within {self._timeout:g} s", maybe_billed=True)
        if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
            return Passing(f"the stream is broken ({error})", maybe_billed=True)
        return Passing(f"{self.name} cut the connection", maybe_billed=True)

    def _status_fault(
        self, status: int, headers: Mapping[str, str], content: bytes, body: Mapping[str, Any]
    ) -> Exception:
        error = _error(content)
        told = str(error.get("message") or content[:200].decode(errors="replace"))
        said = " ".join(told.split())[:200]
        if status in (401, 403):
            return UserError(
                f"{self.name} refuses the key ({status}: {said}); check OPENAI_API_KEY"
            )
        if status == 404:
            return UserError(
                f"{self.name} knows no model {body['model']!r} ({said}); check "
                f"the step's model and OPENAI_BASE_URL"
            )
        if status == 402 or error.get("code") == "insufficient_quota":
            return UserError(
                f"{self.name}: the account has nothing left ({said}); top it up, then go on "
                f"with --resume"
            )
        if status in (408, 409, 425, 429) or status >= 500:
            wait = retry_after(headers)
            if wait is not None and wait > LONGEST_WAIT:
                return UserError(
                    f"{self.name} asks to wait {wait:,.0f} s; go on then with --resume"
                )
            return Passing(f"{status}: {said}", wait=wait, maybe_billed=status == 504)
        if status == 400 and self._adapted(body, str(error.get("param") or said), said):
            return Passing(f"other parameters are wanted: {said}", wait=0.0)
        return Declined(f"{status}: {said}")

    def _adapted(self, body: Mapping[str, Any], named: str, said: str) -> bool:
        """Whether the attempt sent a parameter that newer models refuse; it is not sent again."""
        if "max_tokens" in body and "max_completion_tokens" in said:
            self._limit_name = "max_completion_tokens"
            return True
        if "temperature" in body and "temperature" in named:
            self._with_temperature = False
            return True
        return False

    def _masked(self, content: bytes) -> bytes:
        return self.where.masked(content.decode(errors="replace")).encode()


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


def _sent(body: Mapping[str, Any]) -> bytes | BytesIO:
    """A body as bytes; a large one as a file, which is sent in parts."""
    content = msgspec.json.encode(body)
    return content if len(content) < LARGE else BytesIO(content)


def _idempotent(request: Request) -> dict[str, str]:
    return {"Idempotency-Key": request.digest()}


def _piece(data: bytes) -> tuple[str, bool]:
    """What one event of a stream adds, and whether the answer is over."""
    try:
        event = _COMPLETION.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"the stream holds what is no completion ({error})"
        raise Passing(reason, maybe_billed=True) from None
    if not event.choices:
        return "", False
    return event.choices[0].words, event.choices[0].finish_reason is not None


def _error(content: bytes) -> dict[str, Any]:
    """The error in a body, in the place where OpenAI's servers or others have it."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    inner = body.get("error", body) if isinstance(body, dict) else {}
    return inner if isinstance(inner, dict) else {"message": str(inner)}


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    cached = details.cached_tokens if details is not None else None
    return Usage(usage.prompt_tokens, usage.completion_tokens, cached or 0)


__all__ = [
    "Completion",
    "Declined",
    "Endpoint",
    "Passing",
    "Reply",
    "Request",
    "Usage",
    "retry_after",
]
