"""A run behind HTTP: asked by the openai client, by hand, and badly."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from backends.base import Prediction, Turn
from backends.serve.http import Server, listening
from backends.serve.predicting import Predicting
from knowledge.errors import UserError

CLOSED: list[bool] = []


class Echo:
    """Says what it hears."""

    async def __aenter__(self) -> "Echo":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        text = turns[-1].content
        if text == "fail":
            raise UserError("the endpoint is gone")
        if text == "sort me":
            return Prediction(text, label="card", confidence=0.75)
        return Prediction(text, answer=f"{len(turns)}: {text}", citations=({"n": 1},))

    async def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        if turns[-1].content == "fail":
            raise UserError("the endpoint is gone")
        if turns[-1].content == "for ever":
            try:
                while True:
                    yield "and on "
                    await asyncio.sleep(0.001)
            finally:
                CLOSED.append(True)
        for word in turns[-1].content.split():
            yield word + " "
            await asyncio.sleep(0)
        if turns[-1].content == "break off":
            raise UserError("cut")


def asked(work: Any, key: str | None = None) -> Any:
    """What `work(url)` brings while the server is up."""

    async def main() -> Any:
        stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
        server = Server(Echo(), "echo", key, 4)
        up = asyncio.create_task(listening(server, "127.0.0.1", 0, port.set_result, stop))
        try:
            return await work(f"http://127.0.0.1:{await port}")
        finally:
            stop.set()
            await up

    return asyncio.run(main())


def client(url: str, key: str = "k") -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_the_openai_client_is_answered() -> None:
    async def work(url: str) -> None:
        async with client(url) as api:
            said = await api.chat.completions.create(
                model="x", messages=[{"role": "system", "content": "s"}, *user("hi")]
            )
            assert said.choices[0].message.content == "2: hi"
            assert said.choices[0].finish_reason == "stop"
            parts = [{"type": "text", "text": "sort "}, {"type": "text", "text": "me"}]
            label = await api.chat.completions.create(
                model="x", messages=[{"role": "user", "content": parts}]
            )
            assert label.choices[0].message.content == "card"
            assert (label.model_extra or {})["prediction"]["confidence"] == 0.75
            stream = await api.chat.completions.create(
                model="x", messages=user("one two three"), stream=True
            )
            words = [chunk.choices[0].delta.content async for chunk in stream]
            assert words == ["one ", "two ", "three ", None]
            text = await api.completions.create(model="x", prompt="p")
            assert text.choices[0].text == "1: p"
            pieces = await api.completions.create(model="x", prompt="a b", stream=True)
            assert [chunk.choices[0].text async for chunk in pieces] == ["a ", "b ", ""]
            assert [model.id async for model in api.models.list()] == ["echo"]
            with pytest.raises(openai.APIStatusError, match="the endpoint is gone"):
                await api.chat.completions.create(model="x", messages=user("fail"))
            with pytest.raises(openai.APIStatusError, match="the endpoint is gone"):
                await api.chat.completions.create(model="x", messages=user("fail"), stream=True)
            broken = await api.chat.completions.create(
                model="x", messages=user("break off"), stream=True
            )
            with pytest.raises(openai.APIError, match="cut"):
                [chunk async for chunk in broken]

    asked(work)


def test_a_caller_who_goes_leaves_nothing_running() -> None:
    async def work(url: str) -> None:
        body = {"messages": user("for ever"), "stream": True}
        async with aiohttp.ClientSession() as session:
            for _ in range(6):  # more than are worked on at once
                async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                    await response.content.readline()
                    response.close()
            async with session.get(f"{url}/health") as response:
                assert response.status == 200
        while len(CLOSED) < 6:
            await asyncio.sleep(0.01)

    asked(work)


def test_bad_requests_have_a_status_and_a_reason() -> None:
    async def work(url: str) -> None:
        async with aiohttp.ClientSession() as session:

            async def post(path: str, body: Any, **how: Any) -> tuple[int, str]:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                async with session.post(url + path, data=io.BytesIO(data), **how) as response:
                    told = await response.json()
                    return response.status, told.get("error", {}).get("message", "")

            status, said = await post("/v1/chat/completions", b"{")
            assert status == 400 and "as it should be" in said
            status, said = await post("/v1/chat/completions", {"messages": []})
            assert status == 400 and "end with a text of the user" in said
            assert (await post("/v1/completions", {"prompt": " "}))[0] == 400
            assert (await post("/predict", {"texts": []}))[0] == 400
            assert (await post("/predict", {"texts": ["x"] * 2000}))[0] == 400
            assert (await post("/nothing", {}))[0] == 404
            assert (await post("/predict", b'{"texts": ["' + b"x" * 5_000_000 + b'"]}'))[0] == 413
            async with session.post(f"{url}/predict", json={"texts": ["a", "sort me"]}) as response:
                first, second = (await response.json())["predictions"]
            assert first["citations"] == [{"n": 1}] and second["label"] == "card"

    asked(work)


def test_a_key_is_asked_for() -> None:
    async def work(url: str) -> None:
        async with client(url, "wrong") as api:
            with pytest.raises(openai.AuthenticationError, match="wrong or missing key"):
                await api.chat.completions.create(model="x", messages=user("hi"))
        async with client(url, "right") as api:
            await api.chat.completions.create(model="x", messages=user("hi"))
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
            assert (await response.json())["status"] == "ok"

    asked(work, key="right")


def test_a_port_that_is_taken_is_one_line() -> None:
    async def work(url: str) -> None:
        with pytest.raises(UserError, match="choose another --port"):
            port = int(url.rpartition(":")[2])
            await listening(Server(Echo(), "b", None, 1), "127.0.0.1", port, print, asyncio.Event())

    asked(work)


class Slow:
    """A backend of which only `predict` can be asked."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, folder: Path, texts: list[str]) -> Iterator[Prediction]:
        self.calls.append(len(texts))
        if "fail" in texts:
            raise UserError("cannot")
        return (Prediction(text, label=text.upper()) for text in texts)


def test_what_comes_together_is_one_call_of_predict(tmp_path: Path) -> None:
    backend = Slow()

    async def main() -> None:
        async with Predicting(backend, tmp_path) as service:  # type: ignore[arg-type]
            asked = (service.answer((Turn("user", text),)) for text in "abc")
            said = await asyncio.gather(*asked)
            assert [one.label for one in said] == ["A", "B", "C"]
            assert backend.calls == [3]
            with pytest.raises(UserError, match="cannot"):
                await service.answer((Turn("user", "fail"),))
            assert [piece async for piece in service.stream((Turn("user", "d"),))] == ["D"]

    asyncio.run(main())


def test_the_command_serves_a_run_until_it_is_stopped(tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "prompting"))
    from loopback import serving

    with serving() as state:
        state.reply = lambda _: "said so"
        plan = tmp_path / "plan.yaml"
        (tmp_path / "q.jsonl").write_text('{"prompt": "p", "completion": "said so"}\n')
        plan.write_text(
            "name: p\nsteps:\n- {name: ask, method: prompt, model: m, data: {test: q.jsonl}, "
            "settings: {usd_per_1m_input: 100, usd_per_1m_output: 400}}\n"
        )
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": state.url,
            "ADVISOR_CACHE": str(tmp_path / "cache.sqlite"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        words = [sys.executable, "-m", "advisor"]
        run = tmp_path / "run"
        subprocess.run(
            [*words, "run", str(plan), "--out", str(run), "-q"], env=environment, check=True,
            capture_output=True,
        )  # fmt: skip
        said = subprocess.run(
            [*words, "predict", str(run), "hello", "--stream"], env=environment, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert said.stdout == "said so\n" and state.bodies[-1]["stream"]
        spent = state.usd
        process = subprocess.Popen(
            [*words, "serve", str(run), "--port", "0", "--budget-usd", "0.3", "--json"],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")

        async def work() -> None:
            async with client(told["url"].removesuffix("/v1")) as api:
                said = await api.chat.completions.create(model="run", messages=user("new"))
                assert said.choices[0].message.content == "said so"
                stream = await api.chat.completions.create(
                    model="run", messages=user("other"), stream=True
                )
                pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
                assert "".join(pieces) == "said so" and len(pieces) > 2
                with pytest.raises(openai.APIStatusError, match=r"budget of 0\.3 USD is reached"):
                    for n in range(9):
                        await api.chat.completions.create(model="run", messages=user(f"more {n}"))

        try:
            asyncio.run(work())
            assert 0 < state.usd - spent <= 0.3
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
            process.stdout.close()
