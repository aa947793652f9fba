"""A finished run behind HTTP, with the face of an OpenAI-compatible server.

Light at import: `up()` brings the server in.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from knowledge.errors import UserError


def up() -> ModuleType:
    """The module that serves and streams (`backends.serve.up`).

    Raises:
        UserError: the extra that it needs is not installed.
    """
    if find_spec("aiohttp") is None:
        raise UserError("serving needs aiohttp; install it with: pip install 'llm-advisor[run]'")
    return import_module("backends.serve.up")


__all__ = ["up"]
