"""Money, energy and CO2: rent or ownership of GPUs, electricity, labels, people, totals."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from advisor.estimates.duration import CPU, card
from advisor.estimates.records import Money, MoneyLine, Time
from advisor.job import Job
from knowledge import constants, prices
from knowledge.gpus import Gpu
from knowledge.quantities import Range, exactly, total

WATT_HOURS = 1e-3
HOURS_A_YEAR = 8766.0
GRAMS = 1e-3
OFFERS = "quartiles over the clouds of 'advisor catalog prices'"


class Capacity(NamedTuple):
    """What one replica does: sequences at once, seconds for one request, requests per second."""

    gpus: int
    batch: int
    seconds: Range
    per_second: Range


class Served(NamedTuple):
    """A month of answering requests: its lines, energy, the date of its prices, and what for."""

    lines: tuple[MoneyLine, ...]
    energy: Range | None
    prices_as_of: str | None
    capacity: Capacity
    notes: tuple[str, ...]


def bill(lines: Sequence[MoneyLine], as_of: str | None, months: float | None = None) -> Money:
    """The sum of lines, a month's times the months; None where none is known.

    An unknown line makes the total "at least", never a silent zero.
    """
    count = 1.0 if months is None else months
    once = total(line.usd for line in lines if line.per == "once")
    month = total(line.usd for line in lines if line.per == "month")
    known = any(line.usd is not None for line in lines)
    return Money(
        usd=once.range + month.range.scaled(count) if known else None,
        lines=tuple(lines),
        prices_as_of=as_of,
        at_least=once.at_least or month.at_least,
        once=_of(lines, "once"),
        monthly=_of(lines, "month"),
        months=count,
    )


def _of(lines: Iterable[MoneyLine], per: str) -> Range | None:
    """The known lines of a kind; None where there are none."""
    known = [line.usd for line in lines if line.per == per and line.usd is not None]
    return total(known).range if known else None


def money(job: Job, time: Time | None, energy: Range | None, served: Served | None = None) -> Money:
    """What a job on GPUs or on the user's own processor costs [USD].

    Args:
        time: of the job itself; None where it only answers requests.
        served: a month of requests.
    """
    further = (*(served.lines if served else ()), *people(job))
    as_of = served.prices_as_of if served else None
    if job.gpu is None or time is None:
        return bill(further, as_of, job.months) if further else Money(None, (), None)
    priced, as_of = hours(job, time.gpu_hours, energy)
    return bill((*priced, *further), as_of, job.months)


def summed(once: Range | None, month: Range | None, months: float) -> Range | None:
    """Energy of the job and of its months together [kWh]; None where neither is known."""
    if month is None:
        return once
    return month.scaled(months) if once is None else once + month.scaled(months)


def hours(
    job: Job, gpu_hours: Range | None, energy: Range | None
) -> tuple[tuple[MoneyLine, ...], str | None]:
    """Lines of GPU-hours rented, owned or of a processor, and the date of their prices."""
    if job.gpu == CPU or job.gpu is None:
        return (_electricity(job, energy, "; the machine is your own"),), None
    gpu = card(job.gpu)
    if job.owned:
        return (_amortised(job, gpu, gpu_hours), _electricity(job, energy)), None
    kind = "spot" if job.spot else "on demand"
    quote = prices.quote_of(gpu.id, spot=bool(job.spot))
    if quote is None:
        why = f"no dated {kind} price of {gpu.id} is known"
        return (MoneyLine("GPU rent", None, why),), prices.snapshot("gpu")
    rent = quote.range
    usd = None if gpu_hours is None else gpu_hours.times(rent)
    clouds = f"{quote.clouds} cloud{'s' if quote.clouds > 1 else ''}, {quote.newest}"
    why = f"GPU-hours x {rent.mid:.2f} USD ({rent.low:.2f} to {rent.high:.2f}, {kind}, {clouds})"
    return (MoneyLine("GPU rent", usd, why, OFFERS),), quote.newest.isoformat()


def _amortised(job: Job, gpu: Gpu, gpu_hours: Range | None) -> MoneyLine:
    if job.gpu_usd is None:
        return MoneyLine("own GPUs", None, f"what your {gpu.id} cost is not given (gpu_usd)")
    years, use = constants.find("gpu-life-years"), constants.find("gpu-use")
    worked = years.range.times(use.range).scaled(HOURS_A_YEAR)
    usd = None if gpu_hours is None else gpu_hours.times(exactly(job.gpu_usd).over(worked))
    why = (
        f"GPU-hours x {job.gpu_usd:,.0f} USD over {years.mid:g} years in use {use.mid:.0%} "
        "of the time"
    )
    return MoneyLine("own GPUs", usd, why, years.source)


def _electricity(job: Job, energy: Range | None, remark: str = "") -> MoneyLine:
    price = constants.find("electricity-usd-per-kwh")
    each = exactly(job.usd_per_kwh) if job.usd_per_kwh is not None else price.range
    usd = None if energy is None else energy.times(each)
    why = f"energy x {each.mid:g} USD per kWh{remark}"
    return MoneyLine("electricity", usd, why, "" if job.usd_per_kwh else price.source)


def people(job: Job) -> Iterator[MoneyLine]:
    """Labels to be bought and hours of one's own people, where the job says how many."""
    if job.labels is not None:
        usual = constants.find("label-usd")
        each = usual.range if job.usd_per_label is None else exactly(job.usd_per_label)
        why = f"{job.labels:,} labels x {each.mid:g} USD"
        source = usual.source if job.usd_per_label is None else ""
        yield MoneyLine("labelling", each.scaled(float(job.labels)), why, source)
    if job.people_hours is not None:
        usual = constants.find("people-usd-per-hour")
        each = usual.range if job.usd_per_hour is None else exactly(job.usd_per_hour)
        why = f"{job.people_hours:g} hours x {each.mid:g} USD"
        source = usual.source if job.usd_per_hour is None else ""
        yield MoneyLine("people's time", each.scaled(job.people_hours), why, source)


def energy(job: Job, gpu_hours: Range | None) -> Range | None:
    """Energy at the meter of the data centre or the desk [kWh]; None where unknown."""
    if job.gpu is None or gpu_hours is None:
        return None
    if job.gpu == CPU:
        watts = constants.find("cpu-watts-per-core").range.scaled(float(job.cpu_cores or 2))
        return gpu_hours.times(watts).scaled(WATT_HOURS)
    gpu = card(job.gpu)
    if gpu.tdp_w is None:
        return None
    power = constants.find("power-share").range.times(constants.find("host-power").range)
    power = power.times(constants.find("pue").range).scaled(gpu.tdp_w)
    # Hours and power are not bad together: the mean of the range's ends stays as it is.
    return gpu_hours.times(power).scaled(WATT_HOURS)


def co2(job: Job, energy: Range | None) -> Range | None:
    """CO2 of the energy [kg]; None where the energy is unknown."""
    if energy is None:
        return None
    each = constants.find("co2-g-per-kwh").range
    if job.co2_g_per_kwh is not None:
        each = exactly(job.co2_g_per_kwh)
    return energy.times(each).scaled(GRAMS)


def assumed(job: Job, energy: Range | None) -> tuple[str, ...]:
    """What energy and CO2 rest on, where they are stated."""
    if energy is None:
        return ()
    grid = constants.find("co2-g-per-kwh").mid if job.co2_g_per_kwh is None else job.co2_g_per_kwh
    if job.gpu == CPU:
        return (f"{grid:g} g of CO2 per kWh",)
    share, host, pue = (constants.find(x).mid for x in ("power-share", "host-power", "pue"))
    return (
        f"energy: rated power x {share:g}, server x {host:g}, data centre x {pue:g}; "
        f"{grid:g} g of CO2 per kWh",
    )
