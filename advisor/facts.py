"""The facts that rules read: the answers of a profile, and a few that follow from them."""

from collections.abc import Mapping
from typing import Any

from advisor.profile import Gpus, Profile
from knowledge import gpus

# GPUs and memory [GiB each] behind the hardware words; a cluster is counted as eight nodes.
HARDWARE: dict[str, tuple[int, float]] = {
    "none": (0, 0.0),
    "1x16GB": (1, 16.0),
    "1x24GB": (1, 24.0),
    "1x48GB": (1, 48.0),
    "1x80GB": (1, 80.0),
    "8x80GB": (8, 80.0),
    "cluster": (64, 80.0),
}
RENT_FROM_USD = 10.0  # four hours of one large GPU, the least that trains anything
RENTED = ((0.0, 1), (1000.0, 8), (100000.0, 64))  # GPUs that a budget [USD] rents for a while
RENTED_MEMORY_GIB = 80.0
# One pass of an 8B model over a token: 6 x 8e9 FLOP at 40 % of an H100's 989e12 FLOP/s.
GPU_HOURS_PER_TOKEN = 6 * 8e9 / (0.4 * 989e12) / 3600
USD_PER_GPU_HOUR = 3.0
PATIENCE_DAYS = 60.0
MEANS = ("hardware", "train_budget_usd", "privacy")
DERIVED: dict[str, tuple[str, ...]] = {  # and the answers that each follows from
    "labels_per_class": ("labelled_examples", "n_classes"),
    "hardware_word": ("hardware",),
    "training_place": MEANS,
    "training_gpus": MEANS,
    "training_memory_gib": MEANS,
    "training_means_usd": MEANS,
    "corpus_pass_affordable": (*MEANS, "unlabelled_tokens"),
}
OF_AN_OPTION = ("base_fits", "within_budget")  # what only an option's estimate tells


def facts(profile: Profile) -> dict[str, Any]:
    """What is known, with what follows from it; what is not known is absent."""
    return derived(profile.answers())


def derived(answers: Mapping[str, Any]) -> dict[str, Any]:
    """The answers and the facts that follow from them.

    `labels_per_class`; `hardware_word`; `training_place` (own, rented, nowhere);
    `training_gpus`, `training_memory_gib` (all of them together) and `training_means_usd` (money,
    or what a month of one's own GPUs would cost); `corpus_pass_affordable`: whether one pass of
    an 8B model over the raw text takes under two months and the budget.
    """
    facts = dict(answers)
    labels, classes = answers.get("labelled_examples"), answers.get("n_classes")
    if labels is not None and classes is not None:
        facts["labels_per_class"] = labels / classes
    if (hardware := answers.get("hardware")) is not None:
        facts |= _training(hardware, answers)
    return facts


def _training(hardware: Any, answers: Mapping[str, Any]) -> dict[str, Any]:
    count, memory = owned(hardware)
    money, privacy = answers.get("train_budget_usd"), answers.get("privacy")
    facts: dict[str, Any] = {"hardware_word": "none" if count == 0 else "some"}
    if count:
        place, means = "own", (money or 0.0) + count * 730 * USD_PER_GPU_HOUR
    elif privacy == "on-prem":
        place, means = "nowhere", 0.0
    elif money is None or privacy is None:
        return facts
    elif money >= RENT_FROM_USD:
        place, means = "rented", money
        count, memory = max(n for usd, n in RENTED if money >= usd), RENTED_MEMORY_GIB
    else:
        place, means = "nowhere", money
    facts |= {
        "training_place": place,
        "training_gpus": count,
        "training_memory_gib": count * memory,
        "training_means_usd": means,
    }
    tokens = answers.get("unlabelled_tokens")
    if tokens is not None:
        hours = tokens * GPU_HOURS_PER_TOKEN
        paid = place == "own" or hours * USD_PER_GPU_HOUR <= means
        facts["corpus_pass_affordable"] = bool(
            count and hours / count / 24 <= PATIENCE_DAYS and paid
        )
    return facts


def owned(hardware: Any) -> tuple[int, float]:
    """How many GPUs the answer means, and the memory of each [GiB].

    Raises:
        UserError: the catalogue has no GPU of that name.
    """
    if isinstance(hardware, Gpus):
        return hardware.count, gpus.find(hardware.gpu).memory_gib
    return HARDWARE[hardware]
