"""The view of a recommendation: what to do first, why, what else, and what would change it."""

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

from advisor.estimates.breakeven import Crossing
from advisor.estimates.records import Estimate, Money
from advisor.recommendation.records import Ranked, Reason, Recommendation, Since, Stage
from advisor.recommendation.words import plain
from advisor.report.even import volume
from advisor.report.view import Bar, Chart, Curve, Dot, Line, Plot, Scatter, Table, Text, View
from advisor.report.words import dated, duration, interval, rounded, share, stack, sure
from advisor.report.words import usd as dollars
from knowledge import gpus
from knowledge.quantities import HOUR

POINTS = 60  # of a drawn curve
VERDICTS = {
    "build": "Build it",
    "no-model": "No model needed",
    "labels-first": "Get labels first",
    "reuse": "Reuse an existing domain model",
    "wait": "Wait",
}


def view(advice: Recommendation, name: str | None = None) -> View:
    """The report of a recommendation."""
    return View(
        title=f"Recommendation for {name}" if name else "Recommendation",
        answer=tuple(_answer(advice)),
        sections=tuple(_sections(advice)),
        footer=tuple(_footer(advice)),
    )


def _answer(advice: Recommendation) -> Iterator[str]:
    first = advice.options[0] if advice.options else None
    model = f" with {first.model}" if first is not None and first.model else ""
    yield (
        f"{VERDICTS[advice.verdict]}: {stack(advice.stack)}{model} ({advice.delivery}), "
        f"{sure(advice.confidence)} sure"
    )
    if first is not None:
        yield _figures(first)
    if advice.flips:
        flip = advice.flips[0]
        then = f"{stack(flip.then)} ({flip.delivery})"
        yield f"Nearest change of mind: if {flip.condition}, then {then}"
    else:
        yield "No single answer would change the first place"


def _figures(option: Ranked) -> str:
    estimate = option.estimate
    if not isinstance(estimate, Estimate):
        return "Cost, time and memory: unknown"
    spent = f"Cost {_usd(estimate)}, time {_time(estimate)}"
    if option.delivery != "self-hosted":
        return spent
    memory = estimate.memory_gib.card if estimate.memory_gib is not None else None
    return f"{spent}, memory {interval(memory, 'GiB')} on {option.hardware}"


def _usd(estimate: Estimate) -> str:
    """The cost: what is paid once, and what comes back every month."""
    money = estimate.money
    if money.monthly is None or money.once is None or money.monthly.high == 0:
        monthly = money.monthly is not None and money.once is None
        cost = dollars(money.monthly if monthly else money.usd, at_least=money.at_least)
        return f"{cost} a month" if monthly else cost
    # What is unknown on the bill is unknown of every month; "at least" stands once.
    return f"{dollars(money.once, at_least=money.at_least)} once, {dollars(money.monthly)} a month"


def _brief(estimate: Estimate) -> str:
    """The cost without intervals: once, and a month."""
    money = estimate.money
    if money.usd is None:
        return "unknown"
    parts = [rounded(money.once.mid)] if money.once is not None and money.once.mid >= 0.01 else []
    if money.monthly is not None and money.monthly.mid > 0:
        parts.append(f"{rounded(money.monthly.mid)} a month")
    least = "at least " if money.at_least else ""
    return f"{least}{' + '.join(parts)}" if parts else "under 0.01"


def _time(estimate: Estimate) -> str:
    hours = estimate.time.wall_hours if estimate.time is not None else None
    return duration(hours.scaled(HOUR) if hours is not None else None)


def _sections(advice: Recommendation) -> Iterator[Table | Chart | Text | Plot | Scatter]:
    if advice.since is not None:
        yield from _since(advice.since)
    if advice.options:
        yield Text("Why", tuple(_reason(reason) for reason in advice.options[0].reasons))
        yield _options(advice)
        yield from _charts(advice)
        yield from _even(advice)
    if advice.cautions:
        yield Text("Mind", tuple(_reason(reason) for reason in advice.cautions))
    if advice.stages:
        yield Table(
            "In stages",
            ("stage", "do", "stop if", "budget"),
            tuple(
                (str(number), stage.do, stage.stop_if, _spend(stage))
                for number, stage in enumerate(advice.stages)
            ),
        )
        commands = (stage.command for stage in advice.stages if stage.command)
        yield Text("Commands, a stage each", tuple(Line(command) for command in commands))
    if advice.flips:
        yield Table(
            "What would change it",
            ("if", "then"),
            tuple(
                (flip.condition, f"{stack(flip.then)} ({flip.delivery})") for flip in advice.flips
            ),
        )
    if advice.excluded:
        yield Table(
            "Left out, for these reasons first",
            ("approach", "because"),
            tuple(
                (stack(out.stack), " ".join(because.says for because in out.because[:2]))
                for out in advice.excluded
            ),
        )


def _options(advice: Recommendation) -> Table:
    columns: tuple[str, ...] = ("approach", "model", "where", "first", "USD", "time", "quality")
    front = {point.id for point in advice.pareto}
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            stack(option.stack) + (" *" if option.id in front else ""),
            option.model or "",
            _where(option),
            sure(option.probability),
            _brief(option.estimate) if isinstance(option.estimate, Estimate) else "unknown",
            _time(option.estimate) if isinstance(option.estimate, Estimate) else "unknown",
            share(option.quality),
        )
        for option in advice.options
    )
    note = (
        "first: the probability that it comes out first, given what is not known. "
        f"{advice.considered:,} combinations of approach, base model, delivery and hardware are "
        "possible at all."
    )
    if front & {option.id for option in advice.options}:
        note += " * on the front: none is better in both expected quality and cost."
    if all(option.quality is None for option in advice.options):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
        note += " How well each will do is unknown before a pilot."
    return Table("Options, best first", columns, rows, note)


def _where(option: Ranked) -> str:
    """The hardware of one's own or rented, else how it is hosted."""
    return option.hardware if option.delivery == "self-hosted" else option.delivery


def _label(option: Ranked) -> str:
    return f"{stack(option.stack)}, {option.model or 'field model'}, {_where(option)}"


def _charts(advice: Recommendation) -> Iterator[Chart | Plot | Scatter]:
    priced = [
        (option, option.estimate.money)
        for option in advice.options
        if isinstance(option.estimate, Estimate) and option.estimate.money.usd is not None
    ]
    if len(priced) > 1 and any(money.monthly is not None for _, money in priced):
        yield _over_time(priced)
    metrics = [option.quality_metric for option, _ in priced if option.quality is not None]
    if metrics:
        front = {point.id for point in advice.pareto}
        dots = tuple(
            Dot(_label(option), money.usd, option.quality, option.id in front)
            for option, money in priced
            if option.quality is not None and option.quality_metric == metrics[0]
            and money.usd is not None and money.usd.high > 0
        )  # fmt: skip
        if len(dots) > 1:
            across = f"USD over {max(money.months for _, money in priced):g} months"
            note = "Lines are 80 % intervals; of findings on other tasks before a pilot."
            yield Scatter("Quality against cost", across, metrics[0] or "", dots, note)
    memory = [bar for option in advice.options for bar in _of_card(option)]
    if memory:
        yield Chart(
            "Memory against the card", "% of one card, training", tuple(memory), limit=100.0,
            limit_label="the card is full",
        )  # fmt: skip


def _over_time(priced: Sequence[tuple[Ranked, Money]]) -> Plot:
    months = max(money.months for _, money in priced)

    def at(money: Money, month: float) -> float:
        once = 0.0 if money.once is None else money.once.mid
        return once + month * (0.0 if money.monthly is None else money.monthly.mid)

    curves = tuple(
        Curve(_label(option), tuple((m, at(money, m)) for m in (0.0, months)))
        for option, money in priced
    )
    return Plot("Cost over time", "months", "USD", curves, logarithmic=False)


def _of_card(option: Ranked) -> Iterator[Bar]:
    """The memory of an option's largest job as a part of its card."""
    estimate, (_, _, card) = option.estimate, option.hardware.partition("x ")
    if not card or not isinstance(estimate, Estimate) or estimate.memory_gib is None:
        return
    scale = 100 / gpus.find(card).memory_gib
    yield Bar(f"{stack(option.stack)}, {card}", estimate.memory_gib.card.scaled(scale))


def _even(advice: Recommendation) -> Iterator[Table | Plot]:
    """Volumes at which the first place and another option change order by cost."""
    costs = {option.id: option.over_volume for option in advice.options}
    names = {option.id: _label(option) for option in advice.options}
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


def _since(since: Since) -> Iterator[Text | Table]:
    yield Text("Since the earlier recommendation", (Line(since.why),))
    rows = tuple(
        (kind, change.what, _plain(change.before), _plain(change.after))
        for kind, changes in (
            ("answer", since.answers), ("price", since.prices), ("model", since.models)
        )
        for change in changes
    )  # fmt: skip
    if rows:
        yield Table("What changed", ("kind", "what", "before", "now"), rows)


def _spend(stage: Stage) -> str:
    """What a stage is expected to cost, and where to stop spending."""
    cost = dollars(stage.usd)
    return cost if stage.budget_usd is None else f"{cost}; stop at {rounded(stage.budget_usd)} USD"


def _plain(value: object) -> str:
    if value is None:
        return "-"
    return rounded(float(value)) if isinstance(value, float) else plain(value)


def _reason(reason: Reason) -> Line:
    sources = reason.source.replace("; ", " · ")  # so that no address swallows a semicolon
    return Line(reason.says, f"{reason.rule}: {sources}")


def _footer(advice: Recommendation) -> Iterator[str]:
    if advice.questions_left:
        yield f"Still open, could change the answer: {', '.join(advice.questions_left)}"
    yield f"{dated(advice.prices_as_of)} Intervals are 80 %."
