"""The file format of batch APIs: requests as JSON lines out, answers as JSON lines in.

Source: https://platform.openai.com/docs/guides/batch (one request a line, found again by its
`custom_id`; answers come in any order).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.prompting.endpoint import PATHS, Completion
from backends.prompting.exchange import Passing, Reply, Request
from knowledge.errors import UserError


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
