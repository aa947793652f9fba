"""The largest batch that surely fits, and how a step's examples are dealt out over it."""

from typing import Any, NamedTuple

from advisor import doctor
from advisor.estimates import estimate
from advisor.job import settled
from knowledge import gpus, hyperparameters, models
from knowledge.errors import UserError
from knowledge.hyperparameters import Hyperparameters

CPU = "cpu"
FREE = 0.8  # of a machine's memory, the rest being the system's and the data's


class Dealt(NamedTuple):
    """Examples seen at once, and batches summed into one step."""

    micro_batch: int
    accumulation: int


def dealt(job: dict[str, Any], examples_a_step: int, hardware: str) -> Dealt | None:
    """How to deal out a step; None where not even one example surely fits, or nothing is known.

    Args:
        job: keys of a job, without batch and GPU.
        hardware: of the option, as "1x RTX4090"; taken where this machine has no GPU.
    """
    gpu, room = _room(hardware)
    best = None
    size = 1
    while size <= examples_a_step:
        if not _fits({**job, "micro_batch": size, "gpu": gpu}, room):
            break
        best = size
        size *= 2
    if best is None:
        return None
    return Dealt(best, max(1, round(examples_a_step / best)))


def published(method: str, model: str | None) -> Hyperparameters | None:
    """The published settings for a method on a catalogue model."""
    if model is None:
        return None
    try:
        row = models.find(model)
    except UserError:  # a folder or a hub id of the user's own
        return None
    return hyperparameters.of(method, row.kind, float(row.architecture().parameters()))


def _room(hardware: str) -> tuple[str, float]:
    """The GPU to train on and its memory [GiB]; the processor where there is none."""
    machine = doctor.machine()
    here = next((card.id for card in machine.cards if card.id is not None), None)
    card = here or hardware.partition("x ")[2]
    return (card, gpus.find(card).memory_gib) if card else (CPU, FREE * machine.memory_gib)


def _fits(job: dict[str, Any], room: float) -> bool:
    keys = {key: value for key, value in job.items() if value is not None}
    found = estimate(settled({**keys, "n_gpus": 1}))
    return found.memory_gib is not None and found.memory_gib.card.high <= room
