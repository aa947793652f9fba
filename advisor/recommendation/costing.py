"""What an option takes: its training and the requests after it on one bill, over the horizon."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from msgspec.structs import replace

from advisor.estimates import cost, estimate, hosted
from advisor.estimates.breakeven import Costs, costs
from advisor.estimates.records import Estimate, MoneyLine
from advisor.job import settled
from advisor.options import Option
from knowledge import prices
from knowledge.errors import UserError
from knowledge.quantities import around

GUESSED = 1.3  # how far assumed tokens may be off, either way


def figures(option: Option) -> Estimate | None:
    """The estimate of an option; None where it cannot be known.

    What cannot be served on its GPU does not fit there, however well it trains.
    """
    made = hosted_tuning(option) if option.delivery == "hosted-ft" else _of(option.job)
    if made is None or option.serving is None:
        return made
    served = _of(option.serving)
    if served is None:
        return replace(made, fits=False) if option.delivery == "self-hosted" else made
    fits = made.fits if served.fits is None else bool(made.fits is not False and served.fits)
    lines = (*made.money.lines, *(line for line in served.money.lines if line.per == "month"))
    dates = [day for day in (made.money.prices_as_of, served.money.prices_as_of) if day]
    return replace(
        made,
        fits=fits,
        money=cost.bill(lines, min(dates, default=None), served.money.months),
        assumptions=tuple(dict.fromkeys((*made.assumptions, *served.assumptions))),
        sources=tuple(dict.fromkeys((*made.sources, *served.sources))),
    )


def over_volume(option: Option, made: Estimate | None) -> Costs | None:
    """The cost of an option as a function of the requests a month; None where it is unknown."""
    asked = option.serving or (option.job if "requests" in option.job else None)
    if asked is None or made is None:
        return None
    try:
        found = costs(settled(dict(asked)), option.id)
    except UserError:
        return None
    once = made.money.once if option.serving is not None else None
    if once is None:
        return found
    low, mid, high = (
        replace(cost, fixed=cost.fixed + paid)
        for cost, paid in zip(
            (found.low, found.mid, found.high), (once.low, once.mid, once.high), strict=True
        )
    )
    return replace(found, low=low, mid=mid, high=high)


def hosted_tuning(option: Option) -> Estimate | None:
    """What a vendor charges for the training (tokens x epochs x its price), and how long it is."""
    row = prices.find_api(option.model or "")
    job = option.job
    tokens = job.get("examples", 0) * job.get("tokens_per_example", 0) * job.get("epochs", 1)
    if row.train is None or not tokens:
        return None
    usd = around(tokens * row.train / 1e6, GUESSED)
    why = f"{tokens:g} trained tokens x {row.train:g} USD per million"
    return Estimate(
        id=option.id,
        fits=None,
        memory_gib=None,
        time=hosted.waiting(tokens),
        money=cost.bill([MoneyLine("hosted training", usd, why, row.source)], _dated()),
        energy_kwh=None,
        assumptions=tuple(_assumed(job, row)),
        sources=(row.source,),
    )


def _dated() -> str:
    return prices.snapshot("api")


def _assumed(job: Mapping[str, Any], row: prices.ApiPrice) -> Iterator[str]:
    yield f"{job['tokens_per_example']:g} tokens in one example"
    if row.train_status == "remembered":
        yield f"remembered, not read: the price of training {row.id}"


def _of(job: Mapping[str, Any]) -> Estimate | None:
    return _estimated(tuple(sorted(job.items())))


@cache
def _estimated(job: tuple[tuple[str, Any], ...]) -> Estimate | None:
    """The estimate of a job; None where it cannot be made. Stacks share most of theirs."""
    try:
        return estimate(settled(dict(job)))
    except UserError:
        return None
