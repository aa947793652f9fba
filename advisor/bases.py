"""Which base model and hardware carry an approach stack: by task, memory, latency and licence.

The ladders name catalogue models from small to large; they are a starting point that the pilot
and the user overrule, not a ranking of models.
"""

from typing import NamedTuple

from advisor.facts import facts, owned
from advisor.profile import Gpus, Profile
from knowledge import gpus, models
from knowledge.rules import TRAINING

CHAT = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b", "qwen3-32b",
        "llama-3.3-70b")  # fmt: skip
RAW = ("smollm2-135m", "smollm2-360m", "qwen2.5-1.5b", "qwen2.5-7b", "qwen2.5-14b",
       "qwen2.5-32b")  # fmt: skip
CODE = ("qwen3-1.7b", "starcoder2-3b", "starcoder2-7b", "codellama-34b")
ENCODERS = ("all-minilm-l6-v2", "modernbert-base", "modernbert-large")
FROM_RAW = {"cpt", "scratch"}
PERMISSIVE = {"apache-2.0", "mit"}
API, API_STRONG = "gpt-5-mini", "gpt-5.1"
API_TUNED, API_REWARDED = "ft:gpt-4.1-mini-2025-04-14", "ft:o4-mini-2025-04-16"
# Bytes a parameter that training or serving takes on all GPUs together, activations of short
# texts included. Source: finding E59, with a fifth more.
BYTES = {
    "prompt": 2.4,
    "rag": 2.4,
    "head-ft": 20.0,
    "lora": 3.0,
    "qlora": 1.1,
    "adapters": 3.0,
    "soft-prompt": 3.0,
    "full-ft": 19.0,
    "cpt": 19.0,
    "scratch": 19.0,
    "dpo": 3.4,
    "ppo": 5.0,
}
TUNED_UP_TO = 9e9  # start small: a larger base is the next stage, not the first
QUICK_UP_TO = 4.5e9  # what answers in under a second, or lives on a device
LEARNED_PROMPT_FROM = 1e10  # finding E20
TOKENS_PER_PARAMETER = 20  # finding E42
# A usual card for each hardware word; the estimate is made for it, and says so.
CARDS = {
    "1x16GB": "RTX4060Ti-16GB",
    "1x24GB": "RTX4090",
    "1x48GB": "RTX-A6000",
    "1x80GB": "A100-SXM-80GB",
    "8x80GB": "A100-SXM-80GB",
    "cluster": "H100-SXM-80GB",
}
RENTED = "A100-SXM-80GB"


class Place(NamedTuple):
    """Where an option runs: GPUs of the catalogue (`cpu` for none; None where it is hosted)."""

    gpu: str | None
    n_gpus: int

    def __str__(self) -> str:
        if self.gpu is None:
            return "hosted"
        return "cpu" if self.gpu == "cpu" else f"{self.n_gpus}x {self.gpu}"


def place(stack: tuple[str, ...], delivery: str, profile: Profile) -> Place:
    """The hardware that an option would use: one's own, else rented, else the processor."""
    if delivery in ("api", "hosted-ft"):
        return Place(None, 0)
    hardware = profile.hardware
    if isinstance(hardware, Gpus):
        return Place(gpus.find(hardware.gpu).id, min(hardware.count, _needed(stack)))
    count = owned(hardware)[0] if hardware is not None else 0
    if hardware is not None and count:
        return Place(CARDS[hardware], min(count, _needed(stack)))
    known = facts(profile)
    if "head-ft" in stack and not {"cpt", "scratch"} & set(stack):
        return Place("cpu", 1)
    if known.get("training_place") == "nowhere" or profile.privacy in ("on-prem", "on-device"):
        return Place("cpu", 1)
    return Place(RENTED, min(known.get("training_gpus", 1), _needed(stack)))


def bases(stack: tuple[str, ...], delivery: str, where: Place, profile: Profile) -> list[str]:
    """Catalogue models that fit, the preferred one first; [] where the catalogue has none."""
    if delivery == "api":
        hard = profile.task_type == "reason" or profile.error_cost == "high"
        return [API_STRONG, API] if hard else [API, API_STRONG]
    if delivery == "hosted-ft":
        return [API_REWARDED if "ppo" in stack else API_TUNED]
    if profile.task_type == "predict-sequence" and "scratch" not in stack:
        return []
    ladder = [name for name in _ladder(stack, profile) if _allowed(name, profile)]
    low, high = _sizes(stack, where, profile)
    fitting = [name for name in ladder if low <= _parameters(name) <= high]
    return fitting[::-1][:2]


def _needed(stack: tuple[str, ...]) -> int:
    """How many GPUs a stack can make good use of: a corpus all, whole models a node, else one."""
    if FROM_RAW & set(stack):
        return 1_000_000
    return 8 if {"full-ft", "dpo", "ppo", "soft-prompt"} & set(stack) else 1


def _ladder(stack: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    sequences = profile.task_type == "predict-sequence"
    if "head-ft" in stack or (profile.task_type == "classify" and FROM_RAW & set(stack)):
        return ENCODERS
    if sequences or FROM_RAW & set(stack):
        return RAW
    if profile.task_type == "code" and set(stack) & set(TRAINING):
        return CODE
    return CHAT


def _sizes(stack: tuple[str, ...], where: Place, profile: Profile) -> tuple[float, float]:
    """The smallest and largest base that makes sense [parameters]."""
    low, high = 0.0, TUNED_UP_TO if set(stack) & set(TRAINING) else float("inf")
    if profile.latency == "sub-second" or profile.privacy == "on-device":
        high = QUICK_UP_TO
    if where.gpu == "cpu":
        high = min(high, 1e8 if "head-ft" in stack else QUICK_UP_TO)
    elif where.gpu is not None:
        memory = gpus.find(where.gpu).memory_gib * 2**30 * min(where.n_gpus, 8)
        high = min(high, memory / max(BYTES[part] for part in stack))
    if "soft-prompt" in stack:
        low, high = LEARNED_PROMPT_FROM, max(high, 4 * LEARNED_PROMPT_FROM)
    if "scratch" in stack and profile.unlabelled_tokens is not None:
        high = min(high, profile.unlabelled_tokens / TOKENS_PER_PARAMETER)
    return low, high


def _allowed(name: str, profile: Profile) -> bool:
    if profile.provenance in (None, "any"):
        return True
    return models.find(name).licence.lower() in PERMISSIVE


def _parameters(name: str) -> float:
    return float(models.find(name).architecture().parameters())
