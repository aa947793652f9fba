"""A real Chromium, driven over its debugging protocol."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
PATIENCE = 20.0  # seconds


class Page:
    """One open page; `troubles` are its errors, refused resources too."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.troubles: list[str] = []

    async def call(self, method: str, **given: Any) -> dict[str, Any]:
        """What a command of the protocol brings."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": given})
        while True:
            told = await self._socket.receive_json(timeout=PATIENCE)
            if told.get("method") == "Runtime.exceptionThrown":
                self.troubles.append(json.dumps(told["params"]["exceptionDetails"]))
            if told.get("method") == "Log.entryAdded":
                entry = told["params"]["entry"]
                if entry["level"] in ("warning", "error"):
                    self.troubles.append(entry["text"])
            if told.get("id") == self._number:
                assert "error" not in told, told
                return dict(told["result"])

    async def value(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Return when an expression is true."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while not await self.value(f"Boolean({expression})"):
            assert asyncio.get_running_loop().time() < end, (expression, self.troubles)
            await asyncio.sleep(0.02)

    async def typed(self, text: str) -> None:
        """Type a text into what has the focus, and press Enter."""
        await self.call("Input.insertText", text=text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **key)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **key)


@asynccontextmanager
async def opened(url: str, profile: Path) -> AsyncIterator[Page]:
    """A page in a browser of its own."""
    browser = subprocess.Popen(
        [FOUND, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--no-proxy-server", "--remote-debugging-port=0",
         f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    told = profile / "DevToolsActivePort"
    try:
        end = asyncio.get_running_loop().time() + PATIENCE
        while not (told.is_file() and len(told.read_text().split()) == 2):
            assert asyncio.get_running_loop().time() < end, "the browser does not come up"
            await asyncio.sleep(0.02)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as reply:
                tabs = await reply.json(content_type=None)
            where = next(one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page")
            async with session.ws_connect(where, max_msg_size=2**26) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=url)
                await page.until(f"location.href === {url!r} && document.readyState === 'complete'")
                yield page
    finally:
        browser.terminate()
        browser.wait(10)
