"""The view of one estimate: does it fit, the bill of lines, time and money."""

from collections.abc import Iterator

from advisor.estimates.records import Estimate, Memory
from advisor.report.view import Line, Table, Text, View
from advisor.report.words import dated, duration, interval, rounded, usd
from knowledge.quantities import HOUR


def view(estimate: Estimate, title: str, card_gib: float | None = None) -> View:
    """The report of an estimate.

    Args:
        title: the job in words.
        card_gib: the GPU's memory, where one is named.
    """
    return View(
        title=title,
        answer=tuple(_answer(estimate, title, card_gib)),
        sections=tuple(_sections(estimate)),
        footer=tuple(_footer(estimate)),
    )


def _answer(estimate: Estimate, title: str, card_gib: float | None) -> Iterator[str]:
    verdict = ""
    if estimate.fits is not None:
        verdict = ": fits" if estimate.fits else ": does not fit"
        if estimate.fits and estimate.fits_surely is False:
            verdict = ": fits, but only just"
    yield f"{title}{verdict}"
    if estimate.memory_gib is not None:
        of = f" of {rounded(card_gib)} GiB" if card_gib is not None else ""
        card = interval(estimate.memory_gib.card, "GiB")
        yield f"memory {card}{of} a GPU, peak in the {estimate.memory_gib.peak_phase}"
    hours = estimate.time.wall_hours if estimate.time is not None else None
    seconds = hours.scaled(HOUR) if hours is not None else None
    cost = usd(estimate.money.usd, at_least=estimate.money.at_least)
    yield f"time {duration(seconds)}, cost {cost}"


def _sections(estimate: Estimate) -> Iterator[Table | Text]:
    if estimate.memory_gib is not None:
        yield _memory(estimate.memory_gib)
    if estimate.time is not None:
        time = estimate.time
        rows = [
            ("GPU-hours", interval(time.gpu_hours)),
            ("hours on the wall", interval(time.wall_hours)),
            ("tokens per second per GPU", interval(time.tokens_per_second)),
        ]
        if time.seconds_per_request is not None:
            rows.append(("seconds per request", interval(time.seconds_per_request)))
        yield Table("Time", ("", "mid (80 % interval)"), tuple(rows))
    if estimate.money.lines:
        rows_of_money = tuple((line.name, usd(line.usd), line.why) for line in estimate.money.lines)
        yield Table("Money", ("line", "USD", "why"), rows_of_money)
    if estimate.assumptions:
        yield Text("Assumed", tuple(Line(said) for said in estimate.assumptions))


def _memory(memory: Memory) -> Table:
    lines = tuple((line.name, f"{line.gib:.2f}", line.why) for line in memory.lines)
    totals = (
        ("allocated", interval(memory.allocated), "the lines above, with their interval"),
        ("reserved", interval(memory.reserved), "held by the allocator, gaps included"),
        ("card", interval(memory.card), "with the CUDA context; the high end is what to buy"),
    )
    return Table("Memory of one GPU", ("line", "GiB", "why"), (*lines, *totals))


def _footer(estimate: Estimate) -> Iterator[str]:
    yield f"{dated(estimate.money.prices_as_of)} Intervals are 80 %."
    if estimate.energy_kwh is not None:
        yield f"Energy {interval(estimate.energy_kwh, 'kWh')}."
    yield "Sources: see --json, or 'advisor explain' with the name of a line."
