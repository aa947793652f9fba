"""Where to ask, out of the environment; the key goes to the endpoint and nowhere else."""

import os
from base64 import b64encode
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from knowledge.errors import UserError

OPENAI = "https://api.openai.com/v1"


class Address(msgspec.Struct, frozen=True):
    """Where to ask and with which key; the key is never shown."""

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Address({self.host!r})"

    @property
    def host(self) -> str:
        """The host's name, without the credentials that a URL may carry."""
        return urlsplit(self.url).hostname or ""

    @property
    def plain(self) -> str:
        """The URL without the credentials that it may carry, and without a slash at its end."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), parts.query, ""))

    @property
    def local(self) -> bool:
        """Whether the host is this machine."""
        return _is_loopback(self.host)

    def headers(self) -> dict[str, str]:
        """What shows the endpoint who asks: the key, else the credentials of the URL."""
        parts = urlsplit(self.url)
        if self.key:
            return {"Authorization": f"Bearer {self.key}"}
        if parts.username is None:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

    def masked(self, text: str) -> str:
        """A text without the secrets that an endpoint may repeat in it."""
        for secret in (self.key, urlsplit(self.url).password):
            if secret:
                text = text.replace(secret, "***")
        return text


def address() -> Address:
    """The endpoint that the environment names.

    Raises:
        UserError: neither address nor key is set, the address is no URL, or a host elsewhere is
            to be asked without a key.
    """
    url = os.environ.get("OPENAI_BASE_URL", "").strip()
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not url and not key:
        raise UserError(
            "no endpoint: set OPENAI_BASE_URL (http://127.0.0.1:8000/v1, say) for a server of "
            "your own, or OPENAI_API_KEY for OpenAI's"
        )
    parts = urlsplit(url or OPENAI)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError("OPENAI_BASE_URL is no http(s) URL; write it like http://127.0.0.1:8000/v1")
    if not key and not _is_loopback(parts.hostname):
        raise UserError(f"no OPENAI_API_KEY is set for {parts.hostname}; set it and run again")
    return Address(url or OPENAI, key)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
