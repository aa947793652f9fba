"""Streams of an endpoint, whole and broken; where prices come from; keys that stay hidden."""

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking_runs import jsonl, loopback, ran
from loopback import Loopback

from backends.base import Context, Data, Step, Turn
from backends.data import Message
from backends.prompting import BACKEND, Settings, Tuning
from backends.prompting.address import Address, address
from backends.prompting.endpoint import Endpoint
from backends.prompting.exchange import Declined, Passing, Request
from backends.prompting.money import of, priced
from knowledge.errors import UserError

ASKED = Request("m", (Message("user", "say three words"),), 8)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    for state in loopback(monkeypatch):
        state.reply = lambda _: "one two three"
        yield state


def streamed(request: Request = ASKED) -> list[str]:
    async def main() -> list[str]:
        async with Endpoint(address(), 0.5) as endpoint:
            return [piece async for piece in endpoint.stream(request)]

    return asyncio.run(main())


def test_a_stream_comes_in_pieces(server: Loopback) -> None:
    assert streamed() == ["one", " two", " three"]
    assert server.bodies[0]["stream"] is True


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("cut", "cut the stream"),
        ("garbage", "holds what is no completion"),
        ("slow", "no answer within"),
        ("500", "500: broken"),
    ],
)
def test_a_broken_stream_is_a_fault_not_an_answer(server: Loopback, fault: str, said: str) -> None:
    server.always = fault
    with pytest.raises(Passing, match=said):
        streamed()


def test_a_declined_stream_and_a_wrong_key(server: Loopback) -> None:
    server.always = "400"
    with pytest.raises(Declined, match="context is too long"):
        streamed()
    server.key = "another"
    with pytest.raises(UserError, match="refuses the key"):
        streamed()


def test_a_service_books_what_it_streams(server: Loopback, tmp_path: Path) -> None:
    data = Data(test=jsonl(tmp_path / "q.jsonl", [{"prompt": "p", "completion": "one two three"}]))
    ran(tmp_path / "run", data, usd_per_1m_input=100, usd_per_1m_output=400)
    service = BACKEND.service(tmp_path / "run", budget_usd=0.5)
    assert service is not None

    async def main() -> None:
        async with service as up:
            turns = (Turn("user", "earlier"), Turn("assistant", "so"), Turn("user", "and now"))
            pieces = [piece async for piece in up.stream(turns)]
            assert "".join(pieces) == "one two three"
            assert [m["content"] for m in server.bodies[-1]["messages"]] == [
                "earlier", "so", "and now",
            ]  # fmt: skip
            server.always = "garbage"
            with pytest.raises(UserError, match="no completion"):
                [piece async for piece in up.stream((Turn("user", "x"),))]
            with pytest.raises(UserError, match=r"budget of 0\.5 USD is reached"):
                [piece async for piece in up.stream((Turn("user", "x"),))]

    asyncio.run(main())


def test_prices_come_from_settings_file_or_catalogue(tmp_path: Path) -> None:
    listed = tmp_path / "prices.yaml"
    listed.write_text("mine: {input: 1.5, output: 3.0, training: 8.0}\n")
    found, note = priced(Settings(usd_per_1m_input=9.0), "mine", own_server=False)
    assert of(found).input == 9.0 and note is None
    found, note = priced(Settings(prices=str(listed), tuning=Tuning()), "mine", own_server=True)
    assert (of(found).input, of(found).output, of(found).cached) == (1.5, 3.0, None)
    assert found.tuning is not None and found.tuning.usd_per_1m_training == 8.0
    assert str(listed) in (note or "")
    with pytest.raises(UserError, match="did you mean 'mine'"):
        priced(Settings(prices=str(listed)), "mine2", own_server=True)
    listed.write_text("mine: 3\n")
    with pytest.raises(UserError, match=r"prices\.yaml: Expected `object`"):
        priced(Settings(prices=str(listed)), "mine", own_server=True)
    found, note = priced(Settings(), "gpt-5.6-luna", own_server=False)
    assert of(found).known and "catalogue" in (note or "")
    assert found.context_tokens == 272_000  # above it other prices hold
    assert not of(priced(Settings(), "gpt-5.6-luna", own_server=True)[0]).known
    assert not of(priced(Settings(), "nobody-knows", own_server=False)[0]).known
    assert of(priced(Settings(provider="local"), "x", own_server=True)[0]).output == 0.0


def test_a_key_is_in_no_traceback(server: Loopback, tmp_path: Path) -> None:
    server.key = "another"
    data = Data(test=jsonl(tmp_path / "q.jsonl", [{"prompt": "p", "completion": "c"}]))
    step = Step("ask", "prompt", model="m", data=data)
    with pytest.raises(UserError) as caught:
        BACKEND.run(step, Context(tmp_path))
    shown = "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )
    assert "sk-of-the-test" not in shown
    where = Address("https://someone:hidden@models.example.org/v1/", "")
    assert where.plain == "https://models.example.org/v1"
    assert where.headers()["Authorization"].startswith("Basic ")
    assert where.masked("key hidden here") == "key *** here"
