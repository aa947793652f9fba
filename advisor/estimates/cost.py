"""Money and energy: rent of GPUs, electricity, and the price of hosted requests."""

from collections.abc import Sequence
from functools import cache

from advisor.estimates.duration import CPU, card
from advisor.estimates.records import Money, MoneyLine, Time
from advisor.job import Job
from knowledge import constants, prices
from knowledge.quantities import Range, total

WATT_HOURS = 1e-3


@cache
def _rent(gpu: str, *, spot: bool) -> Range | None:
    return prices.spot(gpu) if spot else prices.rent(gpu)


@cache
def _snapshot() -> str:
    return prices.snapshot("gpu")


def bill(lines: Sequence[MoneyLine], as_of: str | None) -> Money:
    """The sum of lines; None where no line is known, "at least" where one is not."""
    summed = total(line.usd for line in lines)
    known = any(line.usd is not None for line in lines)
    return Money(summed.range if known else None, tuple(lines), as_of, summed.at_least)


def money(job: Job, time: Time | None, energy: Range | None) -> Money:
    """What a job on GPUs or on the user's own processor costs [USD]."""
    if job.gpu is None or time is None:
        return Money(None, (), None)
    if job.gpu == CPU:
        price = constants.find("electricity-usd-per-kwh")
        usd = None if energy is None else energy.times(price.range)
        why = f"energy x {price.mid:g} USD per kWh; the machine is your own"
        return bill((MoneyLine("electricity", usd, why, price.source),), None)
    gpu = card(job.gpu)
    rent = _rent(gpu.id, spot=bool(job.spot))
    kind = "spot" if job.spot else "on demand"
    if rent is None:
        line = MoneyLine("GPU rent", None, f"no dated {kind} price of {gpu.id} is known")
        return bill((line,), _snapshot())
    usd = None if time.gpu_hours is None else time.gpu_hours.times(rent)
    why = f"GPU-hours x {rent.mid:.2f} USD ({rent.low:.2f} to {rent.high:.2f}, {kind})"
    return bill((MoneyLine("GPU rent", usd, why),), _snapshot())


def energy(job: Job, time: Time | None) -> Range | None:
    """Energy at the meter of the data centre or the desk [kWh]; None where unknown."""
    if job.gpu is None or time is None or time.gpu_hours is None:
        return None
    if job.gpu == CPU:
        watts = constants.find("cpu-watts-per-core").range.scaled(float(job.cpu_cores or 2))
        return time.gpu_hours.times(watts).scaled(WATT_HOURS)
    gpu = card(job.gpu)
    if gpu.tdp_w is None:
        return None
    power = constants.find("power-share").range.times(constants.find("host-power").range)
    power = power.times(constants.find("pue").range).scaled(gpu.tdp_w)
    # Hours and power are not bad together: the mean of the range's ends stays as it is.
    return time.gpu_hours.times(power).scaled(WATT_HOURS)
