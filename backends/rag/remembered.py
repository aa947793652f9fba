"""Which engine was found the fastest that agrees, so that it is tried once and not at each index.

One file of the user (`engines.json` beside the cache of answers): by model, wish and machine. What
cannot be read is tried anew.
"""

import os
import platform
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
import torch

from backends.prompting.store import cache_file
from backends.rag.engines import Candidate

FILE = "engines.json"
_COMPUTE = ("torch", "sentence-transformers", "openvino")


class Found(msgspec.Struct, frozen=True):
    """What was found: the way to compute, its least cosine to fp32, the recall@10 it loses."""

    engine: str
    precision: str
    cosine: float
    recall_lost: float
    refused: str | None = None

    @property
    def candidate(self) -> Candidate:
        """The way to compute."""
        return Candidate("openvino" if self.engine == "openvino" else "torch", self.precision)


def key(fingerprint: str, precision: str, engine: str, tried: list[Candidate]) -> str:
    """What a finding holds for: model, wish, candidates, libraries, processor and threads."""
    machine = (platform.machine(), _processor(), torch.get_num_threads())
    what = (fingerprint, precision, engine, tried, [_version(one) for one in _COMPUTE], machine)
    return blake2b(repr(what).encode(), digest_size=16).hexdigest()


def recall(name: str) -> Found | None:
    """What was found under a key."""
    return _all().get(name)


def keep(name: str, found: Found) -> None:
    """Remember it; a cache that cannot be written is done without."""
    place = _place()
    beside = place.with_suffix(f".{os.getpid()}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside.write_bytes(msgspec.json.encode({**_all(), name: found}))
        beside.replace(place)
    except OSError:
        return


def _all() -> dict[str, Found]:
    try:
        return msgspec.json.decode(_place().read_bytes(), type=dict[str, Found])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _place() -> Path:
    return cache_file().with_name(FILE)


def _processor() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
