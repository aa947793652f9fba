"""The view of a recommendation: what to do first, why, what else, and what would change it."""

from collections.abc import Iterator

from advisor.estimates.records import Estimate
from advisor.recommendation.reasons import MATTERS
from advisor.recommendation.records import Ranked, Reason, Recommendation, Since, Stage
from advisor.recommendation.words import plain
from advisor.report.view import Chart, Line, Plot, Table, Text, View
from advisor.report.weighing import break_even, figures, front, label, memory, where
from advisor.report.words import dated, duration, interval, rounded, share, stack, sure
from advisor.report.words import usd as dollars
from knowledge.quantities import HOUR

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
        figures=tuple(figures(advice)),
    )


def _answer(advice: Recommendation) -> Iterator[str]:
    first = advice.options[0] if advice.options else None
    model = f" with {first.model}" if first is not None and first.model else ""
    build = f"{stack(advice.stack)}{model} ({advice.delivery}), {sure(advice.confidence)} sure"
    if advice.verdict == "build":
        yield f"{VERDICTS[advice.verdict]}: {build}"
    else:
        yield f"{VERDICTS[advice.verdict]}: {advice.says}"
        if first is None:
            return
        yield f"If you build all the same: {build}"
    if first is not None:
        yield _figures(first)
    runner = next((o for o in advice.options if o.id == advice.runner_up), None)
    if advice.flips:
        flip = advice.flips[0]
        then = f"{stack(flip.then)} ({flip.delivery})"
        yield f"Nearest change of mind: if {flip.condition}, then {then}"
    else:
        yield "No single answer would change the first place"
    if runner is not None:
        yield f"Runner-up: {label(runner)}, {sure(runner.probability)} to come out first"


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


def _sections(advice: Recommendation) -> Iterator[Table | Chart | Text | Plot]:
    if advice.since is not None:
        yield from _since(advice.since)
    if advice.options:
        yield Text("Why", tuple(_reason(reason) for reason in advice.options[0].reasons))
        yield _options(advice)
        yield _judged(advice)
        if len(advice.pareto) > 1:
            yield front(advice)
        yield from memory(advice)
        yield from break_even(advice)
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
    best = {point.id for point in advice.pareto}
    rows: tuple[tuple[str, ...], ...] = tuple(
        (
            stack(option.stack) + (" *" if option.id in best else ""),
            option.model or "",
            where(option),
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
    if best & {option.id for option in advice.options}:
        note += " * on the front: none is better in both expected quality and cost."
    if all(option.quality is None for option in advice.options):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
        note += " How well each will do is unknown before a pilot."
    return Table("Options, best first", columns, rows, note)


def _judged(advice: Recommendation) -> Table:
    """The points by what they are about, in the order of the judgement."""
    rows = tuple(
        (
            stack(option.stack), where(option),
            *(f"{points:+.1f}" for points in option.points.values()),
            f"{option.score:+.1f}",
        )
        for option in advice.options
    )  # fmt: skip
    note = (
        "What is possible at all; then vetoes; then what must be included; then these points, one "
        "of which makes a way e times as likely to be the best."
    )
    return Table("How they were judged", ("approach", "where", *MATTERS, "together"), rows, note)


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
