"""Uploads to a hub on 127.0.0.1: only where asked for, and a failure loses nothing."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import torch

from backends.base import Context, Data, Step
from backends.finetune import BACKEND
from knowledge.errors import UserError


class Hub:
    """What was sent; `refuses` answers every commit with 403."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refuses = False


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    seen = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.body()
            seen.tokens.add(str(self.headers["authorization"]))
            if self.path.endswith("/repos/create"):
                seen.created.append(json.loads(body))
                return self.told({"url": "http://127.0.0.1/someone/mine"})
            if self.path.endswith("/validate-yaml"):
                return self.told({"errors": [], "warnings": []})
            if "/preupload/" in self.path:
                files = json.loads(body)["files"]
                how = {"uploadMode": "regular", "shouldIgnore": False}
                return self.told({"files": [{"path": one["path"], **how} for one in files]})
            if seen.refuses:
                return self.told({"error": "no"}, 403)
            for line in body.splitlines():
                held = json.loads(line)
                if held["key"] == "file":
                    value = held["value"]
                    seen.files[value["path"]] = base64.b64decode(value["content"])
            at = "http://127.0.0.1/someone/mine/commit/0123456789abcdef"
            self.told({"commitUrl": at, "commitOid": "0123456789abcdef"})
            return None

        def body(self) -> bytes:
            if self.headers["content-length"] is not None:
                return self.rfile.read(int(self.headers["content-length"]))
            parts = []  # sent piece by piece, each with its length before it
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            return b"".join(parts)

        def do_GET(self) -> None:
            self.told({"id": "someone/mine", "sha": "0", "siblings": [], "private": True})

        def told(self, content: Any, status: int = 200) -> None:
            raw = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def step(place: Path, **settings: Any) -> Step:
    torch.set_num_threads(1)
    tiny_bert.model_folder(place / "base")
    data = Data(train=tiny_bert.csv_file(place / "train.csv", tiny_bert.rows(60, seed=1)))
    return Step("intents", "head-ft", str(place / "base"), data=data, settings=settings)


def run(place: Path, **settings: Any) -> Any:
    out = place / "out"
    out.mkdir()
    one = step(place, **settings)
    BACKEND.check(one, Context(out))
    return BACKEND.run(one, Context(out))


def test_an_artefact_is_uploaded_where_asked_for_and_kept_private(hub: Hub, tmp_path: Path) -> None:
    result = run(tmp_path, push="someone/mine")
    assert hub.created[0]["visibility"] == "private"
    folder = tmp_path / "out" / "model"
    held = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert hub.files == held and "README.md" in held
    assert hub.tokens == {"Bearer hf_of_the_test"}
    assert any("uploaded model/ to someone/mine (0123456789ab)" in note for note in result.notes)
    assert "hf_of_the_test" not in (folder / "README.md").read_text() + repr(result)


def test_nothing_is_uploaded_unasked(hub: Hub, tmp_path: Path) -> None:
    run(tmp_path)
    assert not hub.created and not hub.files


def test_a_failed_upload_keeps_the_result(hub: Hub, tmp_path: Path) -> None:
    hub.refuses = True
    result = run(tmp_path, push="someone/mine")
    assert any(note.startswith("not uploaded to someone/mine") for note in result.notes)
    assert (tmp_path / "out" / "model" / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "environment", "says"),
    [
        ("mine", {}, "is no repository; write OWNER/NAME"),
        ("a/b", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is 1"),
        ("a/b", {"HF_TOKEN": ""}, "needs a token"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_before_training(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    environment: dict[str, str],
    says: str,
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=says):
        BACKEND.check(step(tmp_path, push=name), Context(tmp_path / "out"))
