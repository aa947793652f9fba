"""The page of a served run, in a real Chromium."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from backends.base import Prediction, Turn
from backends.serve.http import Server, listening
from knowledge.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
from chromium import FOUND, Page, opened

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> ten days'


class Library:
    """Cites two passages, one of which is an attack."""

    def __init__(self) -> None:
        self.heard: list[tuple[Turn, ...]] = []

    async def __aenter__(self) -> "Library":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        self.heard.append(turns)
        text = turns[-1].content
        if text == "fail":
            raise UserError("the endpoint is gone")
        if text == "sort me":
            return Prediction(text, label="card", confidence=0.75)
        cited = (
            {"n": 1, "document": "leave.md", "heading": "Leave > Days", "page": 2, "last_page": 3,
             "start": 10, "end": 90, "used": text != "unknown", "passage": HOSTILE},
            {"n": 2, "document": "<b>keys</b>.txt", "heading": "", "start": 0, "end": 9,
             "used": False, "passage": "Keys\n\nare kept."},
        )  # fmt: skip
        if text == "unknown":
            return Prediction(text, abstained=True, citations=cited)
        if text == "written":
            return Prediction(text, answer="Ten days [1]. Not [7].", citations=cited)
        return Prediction(text, answer=HOSTILE, citations=cited)

    async def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        yield (await self.answer(turns)).answer or ""


def seen(work: Callable[[Page], Awaitable[None]], folder: Path, key: str | None = None) -> Library:
    """Look at the page of a server that cites; what the server heard."""
    library = Library()

    async def main() -> None:
        stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
        server = Server(library, "handbook", key, 4)
        up = asyncio.create_task(listening(server, "127.0.0.1", 0, port.set_result, stop))
        try:
            async with opened(f"http://127.0.0.1:{await port}/", folder / "profile") as page:
                await page.until("document.title === 'handbook'")
                await page.until("document.activeElement.id === 'question'")
                await work(page)
        finally:
            stop.set()
            await up

    asyncio.run(main())
    return library


LAST = "document.querySelector('#turns li:last-child')"
browser = pytest.mark.skipif(not FOUND, reason="no Chromium is installed")


@browser
def test_a_question_is_answered_with_passages_opened_in_place(tmp_path: Path) -> None:
    async def work(page: Page) -> None:
        await page.typed("how many days?")
        await page.until(f"{LAST}?.querySelector('details')")
        # Documents are shown as text: nothing in them is run, and nothing is fetched.
        assert await page.value(f"{LAST}.querySelector('.answer').textContent") == f"{HOSTILE} [1]"
        assert (
            await page.value("document.querySelectorAll('#turns img, #turns script').length") == 0
        )
        summaries = f"[...{LAST}.querySelectorAll('summary')].map(one => one.textContent)"
        assert await page.value(summaries) == [
            "[1] leave.md · Leave > Days · pages 2 to 3 · characters 10 to 90",
            "[2] <b>keys</b>.txt · characters 0 to 9",
        ]
        assert await page.value(f"[...{LAST}.querySelectorAll('details.used')].length") == 1
        passage = f"{LAST}.querySelector('.passage')"
        assert not await page.value(f"{passage}.checkVisibility()")
        await page.value(f"{LAST}.querySelector('button.mark').click()")
        await page.until(f"{passage}.checkVisibility()")
        assert await page.value(f"{passage}.innerText") == HOSTILE
        assert await page.value("document.title") == "handbook"
        assert not page.troubles

    seen(work, tmp_path)


@browser
def test_a_conversation_goes_on_until_it_begins_anew(tmp_path: Path) -> None:
    async def work(page: Page) -> None:
        async def asked(text: str, shown: str) -> None:
            await page.until("document.activeElement.id === 'question'")
            await page.typed(text)
            await page.until(f"{LAST}?.textContent.includes({shown!r})")
            await page.until("!document.getElementById('ask').disabled")

        await asked("written", "Ten days [1]. Not [7].")
        assert await page.value(f"{LAST}.querySelectorAll('button.mark').length") == 1
        await asked("unknown", "No answer that the passages support")
        await asked("fail", "the endpoint is gone")
        assert await page.value(f"{LAST}.querySelector('[role=alert]').textContent")
        await page.value("document.getElementById('question').value = ''")
        await asked("sort me", "card (0.75)")
        await page.value("document.getElementById('anew').click()")
        await asked("written", "Ten days")
        assert await page.value("document.querySelectorAll('#turns li').length") == 1

    heard = seen(work, tmp_path).heard
    # A question that failed is no part of the conversation.
    assert [len(turns) for turns in heard] == [1, 3, 5, 5, 1]
    assert [turn.role for turn in heard[1]] == ["user", "assistant", "user"]


@browser
def test_a_key_is_asked_for_and_kept_by_the_page_alone(tmp_path: Path) -> None:
    async def work(page: Page) -> None:
        await page.typed("written")
        await page.until("document.activeElement.id === 'key'")
        assert "wrong or missing key" in await page.value(f"{LAST}.textContent")
        await page.typed("right")
        await page.until("document.activeElement.id === 'question'")
        await page.typed("")  # the question still stands there
        await page.until(f"{LAST}.textContent.includes('Ten days')")
        kept = "document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"
        assert "right" not in await page.value(kept + " + location.href")

    heard = seen(work, tmp_path, key="right").heard
    assert [len(turns) for turns in heard] == [1]


def test_the_page_runs_its_own_script_only() -> None:
    async def main() -> None:
        stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
        server = Server(Library(), "handbook", "key", 4)
        up = asyncio.create_task(listening(server, "127.0.0.1", 0, port.set_result, stop))
        url = f"http://127.0.0.1:{await port}/"
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            assert reply.status == 200 and reply.content_type == "text/html"
            policy = reply.headers["Content-Security-Policy"]
            text = await reply.text()
        stop.set()
        await up
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "innerHTML" not in text and "http://" not in text and "https://" not in text

    asyncio.run(main())
