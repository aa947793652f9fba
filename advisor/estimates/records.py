"""What an estimate says, exactly as `advisor estimate --json` prints it."""

from typing import Literal

import msgspec

from knowledge.quantities import Range

Group = Literal["state", "moment", "outside"]


class Line(msgspec.Struct, frozen=True):
    """One line of the memory bill: what takes it, how much at the peak [GiB], why in words.

    The lines up to the peak add up to `Memory.allocated.mid`.
    """

    name: str
    gib: float
    why: str
    source: str = ""


class Memory(msgspec.Struct, frozen=True):
    """Peak memory of one GPU [GiB], 80 % intervals; `high` is what to buy.

    allocated: live bytes in the allocator; reserved: what the allocator holds;
    card: what the whole card shows, context and communication included.
    """

    allocated: Range
    reserved: Range
    card: Range
    lines: tuple[Line, ...]
    peak_phase: str
    static_gib: float


class Time(msgspec.Struct, frozen=True):
    """How long: GPU-hours over all GPUs, hours on the wall, tokens per second per GPU.

    Of answering requests: seconds for one, and requests per second per GPU at full batches.
    """

    gpu_hours: Range | None
    wall_hours: Range | None
    tokens_per_second: Range | None
    seconds_per_request: Range | None = None
    requests_per_second: Range | None = None


class MoneyLine(msgspec.Struct, frozen=True):
    """One line of the cost; `usd` None is unknown, and the total then says "at least".

    `usd` of a line `per` month is one month's.
    """

    name: str
    usd: Range | None
    why: str
    source: str = ""
    per: Literal["once", "month"] = "once"


class Money(msgspec.Struct, frozen=True):
    """What it costs [USD]: `once` + `months` x `monthly`; `at_least` when a line is unknown."""

    usd: Range | None
    lines: tuple[MoneyLine, ...]
    prices_as_of: str | None
    at_least: bool = False
    once: Range | None = None
    monthly: Range | None = None
    months: float = 1.0


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Memory, time, money and energy of one job; None is unknown.

    `fits` compares the middle of the card's figure with the GPU's memory; `fits_surely` its high.
    """

    id: str | None
    fits: bool | None
    fits_surely: bool | None = None
    memory_gib: Memory | None
    time: Time | None
    money: Money
    energy_kwh: Range | None
    co2_kg: Range | None = None
    assumptions: tuple[str, ...]
    sources: tuple[str, ...]
