"""Where a step of a plan is to run: on this machine, or on the card that its option names."""

from typing import Any, NamedTuple

from advisor import calibration, doctor
from advisor.estimates import estimate
from advisor.job import settled
from knowledge import gpus

CPU = "cpu"
FREE = 0.8  # of a machine's memory, the rest being the system's and the data's
SOON = 1.0  # hours on the processor, below which nobody goes elsewhere for a card


class Device(NamedTuple):
    """A card of the catalogue, or the processor (`cpu`), with the memory to use there [GiB].

    `bf16`: it multiplies bf16 itself, in which case weights in fp32 are trained so (autocast).
    """

    gpu: str
    gib: float
    cores: int | None = None
    owned: bool = True
    bf16: bool = False

    def job(self) -> dict[str, Any]:
        """As keys of a job."""
        keys: dict[str, Any] = {"gpu": self.gpu, "n_gpus": 1, "owned": self.owned or None}
        if self.cores is not None:
            keys |= {"cpu_cores": self.cores}
        if self.bf16:
            keys |= {"autocast": True}
        return {key: value for key, value in keys.items() if value is not None}


def here() -> Device:
    """This machine's card, or its processor."""
    machine = doctor.machine()
    card = next((card for card in machine.cards if card.id is not None), None)
    if card is not None and card.id is not None:
        return _card(card.id)
    return Device(CPU, FREE * machine.memory_gib, machine.cores, bf16=machine.bf16)


def device(job: dict[str, Any], hardware: str, *, owned: bool) -> Device:
    """Where a job runs: here, if its least batch fits here and is soon done; else on its card.

    Args:
        job: keys of a job, without a device and a batch.
        hardware: of an option, as "1x RTX4090"; what names no card is here.
        owned: whether that card is the user's own, and not rented.
    """
    own, card = here(), hardware.partition("x ")[2]
    if not card or card == own.gpu or _serves(job, own):
        return own
    return _card(card, owned=owned)


def _card(name: str, *, owned: bool = True) -> Device:
    row = gpus.find(name)
    return Device(name, row.memory_gib, owned=owned, bf16=row.peak("bf16") is not None)


def _serves(job: dict[str, Any], own: Device) -> bool:
    """Whether a job surely fits on this machine's device, and on a processor is soon done."""
    keys = {"micro_batch": 1, **{key: job[key] for key in job if job[key] is not None}}
    found = estimate(settled({**keys, **own.job()}), calibration.own())
    fits = found.memory_gib is None or found.memory_gib.card.high <= own.gib
    hours = found.time.wall_hours if found.time is not None else None
    return fits and (own.gpu != CPU or (hours is not None and hours.mid <= SOON))
