"""The one HTTP server: any run behind the paths that OpenAI's clients ask.

`POST /v1/chat/completions` and `/v1/completions` (both also as a stream), `GET /v1/models`,
`POST /predict` for whole predictions (label, confidence, citations), `GET /health`; `GET /` is a
page for people.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from aiohttp import web

from backends.base import Prediction, Service, Turn
from backends.serve.page import page
from knowledge.errors import UserError

LARGEST_BODY = 4 * 2**20  # bytes
MOST_TEXTS = 1024  # in one call of /predict
OPEN = ("/", "/health")  # without the key
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text of the message, its parts joined."""
        if isinstance(self.content, str) or self.content is None:
            return self.content or ""
        return "".join(str(part.get("text", "")) for part in self.content)


class _Asked(msgspec.Struct):
    """What is read of a request; sampling is the run's own, so the rest is let pass."""

    messages: list[_Message] | None = None
    prompt: str | None = None
    stream: bool = False
    model: str = ""


class _Texts(msgspec.Struct):
    texts: list[str]


class _Bad(Exception):  # noqa: N818 (answered with a status)
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Server:
    """The paths over one service.

    Args:
        name: what the model is called here.
        key: what callers have to show as a bearer token; None lets everybody in.
        at_once: questions worked on together; more wait.
    """

    def __init__(self, service: Service, name: str, key: str | None, at_once: int) -> None:
        self._service = service
        self._name = name
        self._key = key
        self._slots = asyncio.Semaphore(at_once)
        self._begun = int(time.time())

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._guard])
        app.router.add_get("/", page)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_post("/predict", self._predict)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who has the key, and turn faults into the JSON that clients expect."""
        try:
            if self._key is not None and request.path not in OPEN:
                shown = request.headers.get("Authorization", "")
                if not hmac.compare_digest(shown.encode(), f"Bearer {self._key}".encode()):
                    raise _Bad(401, "wrong or missing key; send it as a bearer token")
            return await handler(request)
        except _Bad as error:
            return _error(error.status, str(error))
        except UserError as error:
            return _error(502, str(error))
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the request is longer than {LARGEST_BODY:,} bytes")
        except web.HTTPException as error:
            return _error(error.status, f"{error.reason}: {request.method} {request.path}")

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "model": self._name})

    async def _models(self, _: web.Request) -> web.Response:
        model = {
            "id": self._name, "object": "model", "created": self._begun, "owned_by": "advisor",
        }  # fmt: skip
        return _json({"object": "list", "data": [model]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await _body(request, _Asked)
        turns = tuple(Turn(one.role, one.text) for one in asked.messages or ())
        if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
            raise _Bad(400, "messages have to end with a text of the user")
        return await self._said(request, turns, asked, "chat.completion")

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        asked = await _body(request, _Asked)
        if not asked.prompt or not asked.prompt.strip():
            raise _Bad(400, "prompt has to be a text")
        turns = (Turn("user", asked.prompt),)
        return await self._said(request, turns, asked, "text_completion")

    async def _predict(self, request: web.Request) -> web.Response:
        texts = (await _body(request, _Texts)).texts
        if not texts or len(texts) > MOST_TEXTS:
            raise _Bad(400, f"texts has {len(texts):,} texts; give 1 to {MOST_TEXTS:,}")
        asked = (self._answer((Turn("user", text),)) for text in texts)
        return _json({"predictions": await asyncio.gather(*asked)})

    async def _answer(self, turns: tuple[Turn, ...]) -> Prediction:
        async with self._slots:
            return await self._service.answer(turns)

    async def _said(
        self, request: web.Request, turns: tuple[Turn, ...], asked: _Asked, kind: str
    ) -> web.StreamResponse:
        head = {
            "id": f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{uuid4().hex}",
            "created": int(time.time()),
            "model": self._name,
        }
        if asked.stream:
            async with self._slots:
                pieces = self._service.stream(turns)
                try:
                    return await self._streamed(request, pieces, head, kind)
                finally:  # a caller who has gone leaves the rest unread
                    close = getattr(pieces, "aclose", None)
                    if close is not None:
                        await close()
        said = await self._answer(turns)
        text = said.label or said.answer or ""
        place = (
            {"message": {"role": "assistant", "content": text}}
            if kind == "chat.completion"
            else {"text": text}
        )
        choice = {"index": 0, **place, "finish_reason": "stop", "logprobs": None}
        # Clients of OpenAI's servers let further keys pass; ours has what a label or a citation is.
        return _json({**head, "object": kind, "choices": [choice], "prediction": said})

    async def _streamed(
        self, request: web.Request, pieces: AsyncIterator[str], head: dict[str, Any], kind: str
    ) -> web.StreamResponse:
        """Server-sent events. The status is sent with the first piece, so that a fault before it
        still has a status of its own; a fault after it is an event, and the stream has no end."""
        first = await anext(pieces, "")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        kind = "chat.completion.chunk" if kind == "chat.completion" else kind

        async def send(text: str | None, finish: str | None = None) -> None:
            if kind == "text_completion":
                part: dict[str, Any] = {"text": text or ""}
            else:
                part = {"delta": {} if text is None else {"role": "assistant", "content": text}}
            choice = {"index": 0, **part, "finish_reason": finish}
            await _event(response, {**head, "object": kind, "choices": [choice]})

        try:
            await send(first)
            async for piece in pieces:
                await send(piece)
        except UserError as error:
            await _event(response, {"error": {"message": str(error), "type": "server_error"}})
            return response
        except ConnectionResetError:  # the caller has gone
            return response
        await send(None, "stop")
        await response.write(b"data: [DONE]\n\n")
        return response


async def listening(
    server: Server, host: str, port: int, ready: Callable[[int], None], stop: asyncio.Event
) -> None:
    """Serve until told to stop; what is being answered is finished first.

    Args:
        ready: told the port once it is open.
    Raises:
        UserError: the address cannot be taken.
    """
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=30)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise UserError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from None
        ready(int(runner.addresses[0][1]))
        await stop.wait()
    finally:
        await runner.cleanup()


async def _body(request: web.Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Bad(400, f"the body is not as it should be: {error}") from None


async def _event(response: web.StreamResponse, content: object) -> None:
    await response.write(b"data: " + msgspec.json.encode(content) + b"\n\n")


def _json(content: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json"
    )


def _error(status: int, text: str) -> web.Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _json({"error": {"message": text, "type": kind, "code": status}}, status)
