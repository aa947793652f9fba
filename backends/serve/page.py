"""The page for people: a question, its cited answer, the passages opened in place."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from aiohttp import web


@cache
def _page() -> tuple[bytes, str]:
    """The page, and the policy under which a browser runs its one script and nothing else."""
    content = files("backends.serve").joinpath("page.html").read_text(encoding="utf-8")
    allowed = {tag: _hash(content, tag) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return content.encode(), policy


def _hash(content: str, tag: str) -> str:
    inside = re.findall(f"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
    return " ".join(
        f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in inside
    )


async def page(_: web.Request) -> web.Response:
    """The page; it needs no key, what it asks the server does."""
    content, policy = _page()
    return web.Response(
        body=content,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )
