"""Accelerators: memory, bandwidth and dense peak rates of one device each."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.errors import UserError, unknown
from knowledge.names import found
from knowledge.tables import by_id, csv_rows

USABLE = 0.98
"""Share of the driver's total that a process can use.

Source: "total capacity" in PyTorch's out-of-memory messages over nvidia-smi's total: A100 and
H100 79.14-79.33 of 80, L40S 44.34-44.53 of 45.0, RTX 4090 23.52-23.65 of 24.0 GiB.
Off by: up to 1 % on the cautious side for HBM cards.
"""

RATES = ("bf16", "fp16", "tf32", "fp32", "int8", "fp8", "fp4")


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One accelerator; where a source gives a range, its low end is kept.

    Rates are dense (not sparse) [1e12 per second] and `bandwidth_gb_s` is 1e9 bytes/s.
    `memory_gb` is the figure on the box, `driver_mib` what the driver reports in total;
    `intra_node_gb_s` counts both directions. `approximate` names the fields whose source says
    "about" or gives a range. `status` is "read" only if every figure was read in its source.
    """

    id: str
    vendor: str
    architecture: str
    year: int
    memory_gb: float
    bandwidth_gb_s: float
    interconnect: str
    source: str
    status: Literal["read", "remembered"]
    aliases: str = ""
    driver_mib: float | None = None
    unified: Literal["", "yes"] = ""
    bf16_tflops: float | None = None
    fp16_tflops: float | None = None
    tf32_tflops: float | None = None
    fp32_tflops: float | None = None
    int8_tops: float | None = None
    fp8_tflops: float | None = None
    fp4_tflops: float | None = None
    tdp_w: float | None = None
    intra_node_gb_s: float | None = None
    approximate: str = ""
    caveat: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The other names of the device."""
        return tuple(name.strip() for name in self.aliases.split(";") if name.strip())

    @property
    def memory_gib(self) -> float:
        """Memory that a process can use, its own context included [GiB].

        The driver's total where it is known, else the figure on the box read as GiB (memory
        chips come in powers of two), less what the driver keeps.
        """
        total = self.driver_mib / 1024 if self.driver_mib is not None else self.memory_gb
        return total * USABLE

    @property
    def bandwidth(self) -> float:
        """Memory bandwidth [bytes/s]."""
        return self.bandwidth_gb_s * 1e9

    @property
    def intra_node_bandwidth(self) -> float | None:
        """Bandwidth to the other devices of the node, both directions together [bytes/s]."""
        return None if self.intra_node_gb_s is None else self.intra_node_gb_s * 1e9

    def peak(self, dtype: str) -> float | None:
        """Dense peak [FLOP/s, for int8 operations/s] with sums kept in fp32; None: not offered.

        GeForce cards run fp16 with fp32 sums at their bf16 rate; the faster published fp16 rate
        sums in fp16, which training does not do.

        Raises:
            UserError: no such dtype.
        """
        if dtype not in RATES:
            raise unknown("number format", dtype, RATES)
        rate = self.int8_tops if dtype == "int8" else getattr(self, f"{dtype}_tflops")
        if dtype == "fp16" and rate is not None and self.bf16_tflops is not None:
            rate = min(rate, self.bf16_tflops)
        return None if rate is None else float(rate) * 1e12


class Name(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published name that does not mean exactly one card, and the card nearest to it if any."""

    name: str
    nearest: str = ""
    note: str = ""


@cache
def table() -> Mapping[str, Gpu]:
    """All accelerators by id."""
    return by_id(csv_rows(DATA / "gpus.csv", Gpu), "gpus.csv")


def find(name: str) -> Gpu:
    """The accelerator that a name means; case and dashes do not matter.

    Raises:
        UserError: unknown, or several cards bear the name (they are listed).
    """
    rows = table()
    return rows[found("GPU", name, {key: row.names for key, row in rows.items()})]


@cache
def names() -> Mapping[str, Name]:
    """The published names that do not mean exactly one card."""
    return by_id(csv_rows(DATA / "gpu_names.csv", Name), "gpu_names.csv", lambda row: row.name)


def nearest(published: str) -> Gpu | None:
    """The card that a published measurement was made on, as near as its words say.

    Unlike `find` this settles for a card of the same chip where the form is not stated: enough
    for rates, not for prices.
    """
    row = names().get(published)
    if row is not None:
        return table()[row.nearest] if row.nearest else None
    try:
        return find(published) if published else None
    except UserError:
        return None
