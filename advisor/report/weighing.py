"""What a recommendation's options cost and hold, drawn: over time, over volume, against quality."""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

from advisor.estimates.breakeven import Crossing
from advisor.estimates.records import Estimate, Money
from advisor.recommendation.records import Ranked, Recommendation
from advisor.report.even import volume
from advisor.report.view import Bar, Chart, Curve, Dot, Plot, Scatter, Table
from advisor.report.words import share, stack
from advisor.report.words import usd as dollars
from knowledge import gpus

POINTS = 60  # of a drawn curve


def where(option: Ranked) -> str:
    """The hardware of one's own or rented, else how it is hosted."""
    return option.hardware if option.delivery == "self-hosted" else option.delivery


def label(option: Ranked) -> str:
    """An option in a line: approach, model, where it runs."""
    return f"{stack(option.stack)}, {option.model or 'field model'}, {where(option)}"


def figures(advice: Recommendation) -> Iterator[Plot | Scatter]:
    """Cost over time, quality against cost, cost over volume."""
    priced = [
        (option, option.estimate.money)
        for option in advice.options
        if isinstance(option.estimate, Estimate) and option.estimate.money.usd is not None
    ]
    if len(priced) > 1 and any(money.monthly is not None for _, money in priced):
        yield _over_time(priced)
    metrics = [option.quality_metric for option, _ in priced if option.quality is not None]
    if metrics:
        best = {point.id for point in advice.pareto}
        dots = tuple(
            Dot(label(option), money.usd, option.quality, option.id in best)
            for option, money in priced
            if option.quality is not None and option.quality_metric == metrics[0]
            and money.usd is not None and money.usd.high > 0
        )  # fmt: skip
        shown = {option.id for option, _ in priced}
        dots += tuple(
            Dot(f"{stack(p.stack)}, {p.id.split(':', 1)[1]}", p.usd, p.quality, True)
            for p in advice.pareto
            if p.id not in shown and p.metric == metrics[0] and p.usd.high > 0
        )
        if len(dots) > 1:
            across = f"USD over {max(money.months for _, money in priced):g} months"
            note = "Lines are 80 % intervals; of findings on other tasks before a pilot."
            yield Scatter("Quality against cost", across, metrics[0] or "", dots, note)
    yield from _even_plot(advice)


def _over_time(priced: Sequence[tuple[Ranked, Money]]) -> Plot:
    months = max(money.months for _, money in priced)

    def at(money: Money, month: float) -> float:
        once = 0.0 if money.once is None else money.once.mid
        return once + month * (0.0 if money.monthly is None else money.monthly.mid)

    curves = tuple(
        Curve(label(option), tuple((m, at(money, m)) for m in (0.0, months)))
        for option, money in priced
    )
    return Plot("Cost over time", "months", "USD", curves, logarithmic=False)


def _even_plot(advice: Recommendation) -> Iterator[Plot]:
    """The cost of both sides of the nearest break-even."""
    if not advice.break_even:
        return
    costs = {option.id: option.over_volume for option in advice.options}
    names = {option.id: label(option) for option in advice.options}
    first = advice.break_even[0]
    drawn = [costs[first.cheaper_below], costs[first.cheaper_above]]
    middle = first.requests or 1.0
    low, high = floor(log10(middle)) - 1, ceil(log10(middle)) + 1
    volumes = [10 ** (low + (high - low) * n / POINTS) for n in range(POINTS + 1)]
    curves = tuple(
        Curve(names[one.name], tuple((x, max(0.01, one.mid.usd(x))) for x in volumes))
        for one in drawn
        if one is not None
    )
    up = f"USD over {drawn[0].months:g} months" if drawn[0] is not None else "USD"
    mark = (middle, f"break-even {volume(middle)}")
    yield Plot("Cost over volume", "requests a month", up, curves, marks=(mark,))


def memory(advice: Recommendation) -> Iterator[Chart]:
    """The memory of each option on a GPU as a part of its card."""
    bars = [bar for option in advice.options for bar in _of_card(option)]
    if bars:
        yield Chart(
            "Memory against the card", "% of one card, training", tuple(bars), limit=100.0,
            limit_label="the card is full",
        )  # fmt: skip


def _of_card(option: Ranked) -> Iterator[Bar]:
    """The memory of an option's largest job as a part of its card."""
    estimate, (_, _, card) = option.estimate, option.hardware.partition("x ")
    if not card or not isinstance(estimate, Estimate) or estimate.memory_gib is None:
        return
    scale = 100 / gpus.find(card).memory_gib
    yield Bar(f"{stack(option.stack)}, {card}", estimate.memory_gib.card.scaled(scale))


def break_even(advice: Recommendation) -> Iterator[Table]:
    """Volumes at which the first place and another option change order by cost."""
    names = {option.id: label(option) for option in advice.options}
    if not advice.break_even:
        return
    yield Table(
        "Break-even",
        ("requests a month", "cheaper below", "cheaper above"),
        tuple(
            (_between(pair), names[pair.cheaper_below], names[pair.cheaper_above])
            for pair in _apart(advice.break_even)
        ),
    )


def _apart(pairs: Sequence[Crossing]) -> Iterator[Crossing]:
    """Break-evens that differ: ways on the same card cost about the same."""
    seen: list[float] = []
    for pair in pairs:
        at = pair.requests or 0.0
        if not any(abs(at - other) <= 0.02 * other for other in seen):
            seen.append(at)
            yield pair


def _between(pair: Crossing) -> str:
    middle = volume(pair.requests or 0.0)
    ends = [volume(end) if end is not None else "open" for end in (pair.low, pair.high)]
    return f"{middle} ({ends[0]} to {ends[1]})"


def front(advice: Recommendation) -> Table:
    """Of everything that is possible, what nothing beats in both quality and cost."""
    rows = tuple(
        (stack(p.stack), p.id.split(":", 1)[1], share(p.quality), dollars(p.usd))
        for p in advice.pareto
    )
    metric = advice.pareto[0].metric
    note = "Expected from findings on other tasks until a pilot measures it on this one."
    return Table(
        "The front of quality and cost", ("approach", "with", metric, "cost over the horizon"),
        rows, note,
    )  # fmt: skip
