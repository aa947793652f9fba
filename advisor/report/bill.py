"""The view of one estimate: does it fit, the bill of lines, time and money."""

from collections.abc import Iterator

from advisor.estimates.records import Estimate, Memory, Money, MoneyLine, Time
from advisor.report.view import Line, Table, Text, View
from advisor.report.words import dated, duration, interval, rounded, usd
from knowledge.quantities import HOUR, Range


def view(
    estimate: Estimate, title: str, card_gib: float | None = None, *, on_cpu: bool = False
) -> View:
    """The report of an estimate.

    Args:
        title: the job in words.
        card_gib: the GPU's memory, where one is named.
        on_cpu: the memory is that of a process.
    """
    return View(
        title=title,
        answer=tuple(_answer(estimate, title, card_gib, on_cpu)),
        sections=tuple(_sections(estimate, on_cpu)),
        footer=tuple(_footer(estimate)),
    )


def _answer(estimate: Estimate, title: str, card_gib: float | None, on_cpu: bool) -> Iterator[str]:
    verdict = ""
    if estimate.fits is not None:
        verdict = ": fits" if estimate.fits else ": does not fit"
        if estimate.fits and estimate.fits_surely is False:
            verdict = ": fits, but only just"
    yield f"{title}{verdict}"
    if estimate.memory_gib is not None:
        of = f" of {rounded(card_gib)} GiB" if card_gib is not None else ""
        card = interval(estimate.memory_gib.card, "GiB")
        each = "" if on_cpu else " a GPU"
        yield f"memory {card}{of}{each}, peak in the {estimate.memory_gib.peak_phase}"
    hours = estimate.time.wall_hours if estimate.time is not None else None
    seconds = hours.scaled(HOUR) if hours is not None else None
    yield f"time {duration(seconds)}, cost {_cost(estimate.money)}"


def _cost(money: Money) -> str:
    """The total, and over how long where some of it comes back every month."""
    whole = usd(money.usd, at_least=money.at_least)
    if money.monthly is None or money.usd is None:
        return whole
    if money.months != 1:
        return f"{whole} in {money.months:g} months"
    return f"{whole} a month" if money.once is None else f"{whole} with a first month"


def _sections(estimate: Estimate, on_cpu: bool) -> Iterator[Table | Text]:
    if estimate.memory_gib is not None:
        yield _memory(estimate.memory_gib, on_cpu)
    if estimate.time is not None:
        yield _time(estimate.time)
    if estimate.money.lines:
        yield _money(estimate.money)
    if estimate.assumptions:
        yield Text("Assumed", tuple(Line(said) for said in estimate.assumptions))


def _memory(memory: Memory, on_cpu: bool) -> Table:
    lines = tuple((line.name, f"{line.gib:.2f}", line.why) for line in memory.lines)
    totals = (
        ("allocated", interval(memory.allocated), "the lines above, with their interval"),
        ("reserved", interval(memory.reserved), "held by the allocator, gaps included"),
        ("card", interval(memory.card), "with the CUDA context; the high end is what to buy"),
    )
    if on_cpu:
        whole = "with interpreter and libraries; the high end is what to have"
        totals = (*totals[:2], ("process", interval(memory.card), whole))
    return Table(
        "Memory of the process" if on_cpu else "Memory of one GPU",
        ("line", "GiB", "why"),
        (*lines, *totals),
    )


def _time(time: Time) -> Table:
    rows = [
        ("GPU-hours", interval(time.gpu_hours)),
        ("hours on the wall", interval(time.wall_hours)),
        ("tokens per second per GPU", interval(time.tokens_per_second)),
    ]
    if time.seconds_per_request is not None:
        rows.append(("seconds per request", interval(time.seconds_per_request)))
    if time.requests_per_second is not None:
        rows.append(("requests per second per GPU", interval(time.requests_per_second)))
    return Table("Time", ("", "mid (80 % interval)"), tuple(rows))


def _money(money: Money) -> Table:
    """The lines; where some come back, what is paid once, each month and in all."""
    lines = [(line.name, _paid(line), line.why) for line in money.lines]
    if money.monthly is not None and money.once is not None and len(lines) > 1:
        lines.append(("once", _dollars(money.once), "the lines that do not come back"))
        lines.append(("each month", _dollars(money.monthly), "the lines that do"))
    if len(lines) > 1:
        months = f"once, and {money.months:g} x each month" if money.monthly else "of the lines"
        lines.append(("total", _dollars(money.usd, at_least=money.at_least), months))
    return Table("Money", ("line", "USD", "why"), tuple(lines))


def _paid(line: MoneyLine) -> str:
    shown = _dollars(line.usd)
    return f"{shown} a month" if line.per == "month" and line.usd is not None else shown


def _dollars(range_: Range | None, *, at_least: bool = False) -> str:
    """Dollars under a heading that says so."""
    return usd(range_, at_least=at_least).replace(" USD", "")


def _footer(estimate: Estimate) -> Iterator[str]:
    yield f"{dated(estimate.money.prices_as_of)} Intervals are 80 %."
    if estimate.energy_kwh is not None:
        emitted = f", CO2 {interval(estimate.co2_kg, 'kg')}" if estimate.co2_kg else ""
        yield f"Energy {interval(estimate.energy_kwh, 'kWh')}{emitted}."
    yield "Sources: see --json, or 'advisor explain' with the name of a line."
