"""The view of a recommendation: what to do first, why, what else, and what would change it."""

from collections.abc import Iterator

from advisor.estimates.records import Estimate
from advisor.recommendation.records import Ranked, Reason, Recommendation
from advisor.report.view import Bar, Chart, Line, Table, Text, View
from advisor.report.words import dated, duration, interval, share, stack, sure
from advisor.report.words import usd as dollars
from knowledge.quantities import HOUR

REQUESTS = "model requests"  # the line of a bill that recurs every month
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
    """The cost; that of answering requests is a month's."""
    cost = dollars(estimate.money.usd, at_least=estimate.money.at_least)
    monthly = any(line.name == REQUESTS for line in estimate.money.lines)
    return f"{cost} a month" if monthly and estimate.money.usd is not None else cost


def _time(estimate: Estimate) -> str:
    hours = estimate.time.wall_hours if estimate.time is not None else None
    return duration(hours.scaled(HOUR) if hours is not None else None)


def _sections(advice: Recommendation) -> Iterator[Table | Chart | Text]:
    if advice.options:
        yield Text("Why", tuple(_reason(reason) for reason in advice.options[0].reasons))
        yield _options(advice.options)
        yield from _charts(advice.options)
    if advice.cautions:
        yield Text("Mind", tuple(_reason(reason) for reason in advice.cautions))
    if advice.stages:
        yield Table(
            "In stages",
            ("", "do", "stop if", "cost"),
            tuple(
                (str(number), stage.do, stage.stop_if, dollars(stage.usd))
                for number, stage in enumerate(advice.stages)
            ),
        )
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


def _options(options: tuple[Ranked, ...]) -> Table:
    columns: tuple[str, ...] = ("approach", "model", "where", "first", "cost", "time", "quality")
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            stack(option.stack),
            option.model or "",
            f"{option.delivery}, {option.hardware}",
            sure(option.probability),
            _usd(option.estimate) if isinstance(option.estimate, Estimate) else "unknown",
            _time(option.estimate) if isinstance(option.estimate, Estimate) else "unknown",
            share(option.quality),
        )
        for option in options
    )
    note = "first: the probability that it comes out first, given what is not known."
    if all(option.quality is None for option in options):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
        note += " How well each will do is unknown before a pilot."
    return Table("Options, best first", columns, rows, note)


def _charts(options: tuple[Ranked, ...]) -> Iterator[Chart]:
    def label(option: Ranked) -> str:
        return f"{stack(option.stack)} {option.model or ''}".strip()

    quality = [Bar(label(o), o.quality) for o in options if o.quality is not None]
    if len(quality) > 1:
        yield Chart("Expected quality", "share right", tuple(quality))
    costs = [
        Bar(label(option), usd)
        for option in options
        if isinstance(option.estimate, Estimate)
        and (usd := option.estimate.money.usd) is not None
        and usd.low > 0
    ]
    if len(costs) > 1:
        yield Chart("Cost", "USD, logarithmic", tuple(costs), logarithmic=True)


def _reason(reason: Reason) -> Line:
    sources = reason.source.replace("; ", " · ")  # so that no address swallows a semicolon
    return Line(reason.says, f"{reason.rule}: {sources}")


def _footer(advice: Recommendation) -> Iterator[str]:
    if advice.questions_left:
        yield f"Still open, could change the answer: {', '.join(advice.questions_left)}"
    yield f"{dated(advice.prices_as_of)} Intervals are 80 %."
