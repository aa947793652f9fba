"""The file format of batch APIs: requests as JSON lines out, answers as JSON lines in.

Source: https://platform.openai.com/docs/guides/batch (one request a line, found again by its
`custom_id`; answers come in any order).
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Context, Interrupted
from backends.prompting.answers import Recipe
from backends.prompting.endpoint import PATHS, Completion
from backends.prompting.examples import with_examples
from backends.prompting.exchange import Declined, Passing, Reply, Request
from backends.prompting.items import Item
from backends.prompting.money import of
from backends.prompting.store import Store
from backends.prompting.tokens import TooLong
from knowledge.errors import UserError

INPUT, OUTPUT = "batch_input.jsonl", "batch_output.jsonl"


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: dict[str, Any] | None = None


def body(request: Request) -> dict[str, Any]:
    """A request as the API's JSON."""
    said: dict[str, Any] = {"model": request.model}
    if request.face == "chat":
        said["messages"] = [{"role": m.role, "content": m.content} for m in request.messages]
    else:
        said["prompt"] = request.text
    said["max_tokens"] = request.max_tokens
    said["temperature"] = request.temperature
    if request.format is not None:
        said["response_format"] = request.format
    return said


def write(path: Path, requests: Iterable[Request]) -> int:
    """Write requests as a batch file, equal ones once; how many they are."""
    seen: set[str] = set()
    with path.open("wb") as lines:
        for request in requests:
            key = request.digest()
            if key in seen:
                continue
            seen.add(key)
            line = {
                "custom_id": key,
                "method": "POST",
                "url": f"/v1{PATHS[request.face]}",
                "body": body(request),
            }
            lines.write(msgspec.json.encode(line) + b"\n")
    return len(seen)


def exchanged(
    made: Recipe, items: Iterable[Item], store: Store, context: Context
) -> dict[str, str]:
    """Take in what a batch API has answered; for what it has not, the reason by request.

    Raises:
        Interrupted: requests are waiting in the input file to be handed over.
        UserError: the output file is none.
    """
    prices, reasons = of(made.settings), {}
    output = context.folder / OUTPUT
    if output.is_file():
        for key, said in read(output):
            if isinstance(said, str):
                reasons[key] = said
            elif store.answer(key) is None:
                usd = None if said.usage is None else prices.usd(said.usage)
                store.answered(store.sent(key, usd), key, said, usd)
    missing = (
        request
        for request in _requests(made, items)
        if request.digest() not in reasons and store.answer(request.digest()) is None
    )
    worst = 0.0

    def counted() -> Iterator[Request]:
        nonlocal worst
        for request in missing:
            worst += prices.worst(request) or 0.0
            yield request

    count = write(context.folder / INPUT, counted())
    if context.budget_usd is not None and store.spent + worst > context.budget_usd:
        (context.folder / INPUT).unlink()
        raise UserError(
            f"{count:,} requests may cost {worst:.4g} USD, and the budget has "
            f"{context.budget_usd - store.spent:.4g} USD left; raise it, or set limit"
        )
    if count:
        raise Interrupted(
            f"{count:,} requests are in {str(context.folder / INPUT)!r}: give it to the batch API, "
            f"save what it brings as {OUTPUT!r} beside it"
        )
    return reasons


def _requests(made: Recipe, items: Iterable[Item]) -> Iterator[Request]:
    """The first request about each item, once for each answer to be drawn."""
    for item, examples in with_examples(items, made.selector, lambda item: item.text):
        try:
            request, _ = made.request(item, examples)
        except TooLong:
            continue
        for number in range(made.settings.samples):
            yield msgspec.structs.replace(request, sample=number)


class Filed:
    """The provider of answers that came by file: nothing more is sent."""

    name = identity = "the batch file"

    def __init__(self, reasons: dict[str, str]) -> None:
        self._reasons = reasons

    async def __aenter__(self) -> "Filed":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, request: Request) -> Reply:
        """None: what is not in the file was not answered."""
        raise Declined(self._reasons.get(request.digest(), "not in the batch"))

    def stream(self, request: Request) -> AsyncIterator[str]:
        """None, as `answer`."""
        raise Declined("a batch does not stream")


def read(path: Path) -> Iterator[tuple[str, Reply | str]]:
    """For each line its request's key, and the reply or the reason why there is none.

    Raises:
        UserError: the file is no output of a batch API.
    """
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if not raw.strip():
                continue
            try:
                line = msgspec.json.decode(raw, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{path.name}, line {number}: no answer of a batch API ({error})"
                ) from None
            yield line.custom_id, _reply(line)


def _reply(line: _Line) -> Reply | str:
    response = line.response
    if line.error is not None or response is None:
        return str((line.error or {}).get("message", "no response"))
    if response.status_code != 200:
        return f"{response.status_code}: {bytes(response.body)[:160].decode(errors='replace')}"
    try:
        return msgspec.json.decode(response.body, type=Completion).reply(0.0)
    except (msgspec.DecodeError, Passing) as error:
        return f"the answer is no completion ({error})"
