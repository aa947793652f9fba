"""A chat-completions server on 127.0.0.1 that fails on demand and keeps its own books."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USD_PER_1M_INPUT = 100.0
USD_PER_1M_OUTPUT = 400.0


class Loopback:
    """What the server does and what it saw.

    `faults` is taken one a request, None for a good answer; `usd` is what it would bill, for
    answers that were cut or came too late too.
    """

    def __init__(self) -> None:
        self.faults: list[str | None] = []
        self.always: str | None = None
        self.reply: Callable[[str], str] = lambda _: "card"
        self.key: str | None = None
        self.delay = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.usd = 0.0
        self.answered = 0
        self.at_once = 0
        self.most_at_once = 0
        self.files: list[bytes] = []
        self.jobs: list[dict[str, Any]] = []
        self.job_ends: str = "succeeded"
        self.looks = 3  # at a job until it has ended
        self.lock = threading.Lock()
        self.url = ""

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.bodies)

    def asked(self) -> list[str]:
        """The last message of every request."""
        return [body["messages"][-1]["content"] for body in self.bodies]

    def fault(self, body: dict[str, Any], headers: dict[str, str]) -> str | None:
        """Note a request and say what is wrong with its answer."""
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            return self.faults.pop(0) if self.faults else self.always

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        """An answer, booked."""
        told = [m["content"] for m in body["messages"]] if "messages" in body else [body["prompt"]]
        text = self.reply(told[-1])
        sent = sum(len(one) for one in told) // 4 + 8
        said = min(len(text) // 4 + 1, body.get("max_tokens", body.get("max_completion_tokens")))
        with self.lock:
            self.usd += (sent * USD_PER_1M_INPUT + said * USD_PER_1M_OUTPUT) / 1e6
            self.answered += 1
        return {
            "id": "c-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    **(
                        {"message": {"role": "assistant", "content": text}}
                        if "messages" in body
                        else {"text": text}
                    ),
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": sent,
                "completion_tokens": said,
                "total_tokens": sent + said,
            },
        }


STATUSES: dict[str, tuple[int, str, dict[str, str]]] = {
    "429": (429, "slow down", {"Retry-After": "0.05"}),
    "429-slow": (429, "slow down", {"Retry-After": "0.5"}),
    "429-long": (429, "come back tomorrow", {"Retry-After": "86400"}),
    "quota": (429, "insufficient_quota", {}),
    "500": (500, "broken", {}),
    "400": (400, "the context is too long", {}),
    "404": (404, "no such model", {}),
    "max_tokens": (400, "Unsupported parameter: use 'max_completion_tokens' instead", {}),
}


def _progressed(state: Loopback, job: dict[str, Any]) -> dict[str, Any]:
    """A job as it stands at one more look."""
    job["looks"] += 1
    if job["looks"] >= state.looks:
        job["status"] = state.job_ends
        if state.job_ends == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}"
            job["trained_tokens"] = 1000
        else:
            job["error"] = {"code": "bad", "message": "the file is odd", "param": None}
    return job


def _handler(state: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            """Fine-tuning jobs: one, or all."""
            name = self.path.split("?")[0].rsplit("/", 1)[1]
            if name == "jobs":
                self.told({"object": "list", "data": state.jobs, "has_more": False})
            else:
                self.told(_progressed(state, next(job for job in state.jobs if job["id"] == name)))

        def told(self, content: dict[str, Any]) -> None:
            raw = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def tuned(self, raw: bytes) -> None:
            """Files and jobs of fine-tuning."""
            if state.key is not None and self.headers["Authorization"] != f"Bearer {state.key}":
                with state.lock:
                    state.at_once += 1
                self.status(401, "Incorrect key", {})
            elif self.path.endswith("/files"):
                start = raw.index(b'{"messages"')
                state.files.append(raw[start : raw.index(b"\r\n--", start)])
                self.told({"id": f"file-{len(state.files)}", "object": "file", "bytes": len(raw),
                           "created_at": 1, "filename": "f", "purpose": "fine-tune",
                           "status": "processed"})  # fmt: skip
            else:
                job = json.loads(raw)
                job |= {"id": f"ftjob-{len(state.jobs) + 1}", "status": "running", "created_at": 1,
                        "object": "fine_tuning.job", "fine_tuned_model": None, "looks": 0,
                        "trained_tokens": None, "error": None, "result_files": [],
                        "organization_id": "o", "hyperparameters": {}}  # fmt: skip
                state.jobs.append(job)
                self.told(job)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.path.endswith("completions"):
                self.tuned(raw)
                return
            body = json.loads(raw)
            given = {name.lower(): value for name, value in self.headers.items()}
            with state.lock:
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            self.answer(body, given)

        def answer(self, body: dict[str, Any], given: dict[str, str]) -> None:
            fault = state.fault(body, given)
            if fault == "max_tokens" and "max_tokens" not in body:
                fault = None
            if state.key is not None and given.get("authorization") != f"Bearer {state.key}":
                self.status(401, f"Incorrect key: {given.get('authorization')}", {})
            elif fault in STATUSES:
                self.status(*STATUSES[fault])
            else:
                completion = state.completion(body)
                time.sleep(1.0 if fault == "slow" else state.delay)
                if body.get("stream"):
                    self.streamed(completion, fault)
                else:
                    self.complete(completion, fault)

        def streamed(self, completion: dict[str, Any], fault: str | None) -> None:
            """The answer word by word; cut or garbled after the first."""
            first = completion["choices"][0]
            whole = first["message"]["content"] if "message" in first else first["text"]
            words = whole.split(" ")
            pieces = [word if not n else f" {word}" for n, word in enumerate(words)]
            events = [
                {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
                for piece in pieces
            ]
            events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            lines = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]
            if fault == "cut":
                lines = lines[:1]
            elif fault == "garbage":
                lines = [lines[0], b"data: \xff\x00{]\n\n"]
            else:
                lines.append(b"data: [DONE]\n\n")
            content = b"".join(lines)
            self.send(200, content, {"Content-Length": str(len(content))})

        def complete(self, completion: dict[str, Any], fault: str | None) -> None:
            if fault == "no-usage":
                del completion["usage"]
            content = json.dumps(completion).encode()
            if fault == "malformed":
                content = content[: len(content) // 2]
            if fault == "html":
                content = b"<html>busy</html>"
            length = len(content)
            if fault == "cut":
                content = content[: length // 2]
            self.send(200, content, {"Content-Length": str(length)})
            if fault == "cut":
                self.close_connection = True

        def status(self, code: int, message: str, headers: dict[str, str]) -> None:
            error = {"message": message, "code": message if "quota" in message else None}
            content = json.dumps({"error": error}).encode()
            self.send(code, content, {"Content-Length": str(len(content)), **headers})

        def send(self, code: int, content: bytes, headers: dict[str, str]) -> None:
            with state.lock:
                state.at_once -= 1
            try:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


class Server(ThreadingHTTPServer):
    """As many connections at once as a run may open."""

    request_queue_size = 512
    daemon_threads = True


@contextmanager
def serving() -> Iterator[Loopback]:
    """A server for as long as the block lasts."""
    state = Loopback()
    server = Server(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
