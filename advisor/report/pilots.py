"""The view of a pilot: what was measured, what it changes, and what was not tried."""

from collections.abc import Iterator

from advisor.pilot import Outcome, Tried
from advisor.report.view import Bar, Chart, Line, Table, Text, View
from advisor.report.words import duration, rounded, share, stack, sure
from backends.base import Metric
from knowledge.quantities import Range, exactly


def view(outcome: Outcome) -> View:
    """The report of a pilot."""
    return View(
        title=f"Pilot for {outcome.profile}" if outcome.profile else "Pilot",
        answer=tuple(_answer(outcome)),
        sections=tuple(_sections(outcome)),
        footer=(
            "Measured on examples held back from the training data; test data were not touched. "
            "Intervals of metrics are 95 %, of predictions 80 %.",
        ),
    )


def _answer(outcome: Outcome) -> Iterator[str]:
    known = [one for one in outcome.tried if one.quality is not None and not one.stands_for]
    before, after = outcome.before, outcome.after
    first = f"{stack(after.stack)} ({after.delivery}), {sure(after.confidence)} sure"
    if not known:
        yield "Nothing was measured that options can be compared by; the advice stays"
    elif (before.stack, before.delivery) == (after.stack, after.delivery):
        yield f"The first place stays: {first}; before the pilot {sure(before.confidence)} sure"
    else:
        yield f"The first place changes from {stack(before.stack)} ({before.delivery}) to {first}"
    if known:
        top = max(known, key=lambda one: 0.0 if one.quality is None else one.quality.value)
        yield f"Best measured: {stack(top.stack)}, {top.metric} {_metric(top.quality)}"
    reached = [one for one in known if one.quality and outcome.target is not None
               and (one.quality.low or one.quality.value) >= outcome.target]  # fmt: skip
    if outcome.target is not None:
        who = ", ".join(stack(one.stack) for one in reached) or "none"
        yield f"Surely at the target of {outcome.target:g}: {who}"


def _sections(outcome: Outcome) -> Iterator[Table | Chart | Text]:
    yield Table(
        "Tried",
        ("option", "learnt from", "measured (95 %)", "took", "predicted", "peak GiB"),
        tuple(map(_row, outcome.tried)),
        note=_money(outcome),
    )
    bars = tuple(
        Bar(
            f"{stack(one.stack)}, {one.rows:,}" if one.rows else stack(one.stack),
            _range(one.quality),
        )
        for one in outcome.tried
        if one.quality is not None and not one.stands_for
    )
    if bars:
        yield Chart("Quality on held-out examples", "share", bars)
    if outcome.findings:
        yield Text(
            "What it says", tuple(Line(one.says, f"probe {one.probe}") for one in outcome.findings)
        )
    if outcome.left_out:
        rows = tuple((stack(one.stack), one.because) for one in outcome.left_out)
        yield Table("Not tried", ("option", "because"), rows)


def _row(one: Tried) -> tuple[str, ...]:
    return (
        f"{stack(one.stack)}, a part" if one.stands_for else stack(one.stack),
        f"{one.rows:,}" if one.rows else "nothing",
        "unknown" if one.quality is None else f"{one.metric} {_metric(one.quality)}",
        duration(exactly(one.seconds)),
        duration(one.predicted_seconds),
        "unknown" if one.peak_gib is None else rounded(one.peak_gib),
    )


def _money(outcome: Outcome) -> str:
    spent = sum(one.usd or 0.0 for one in outcome.tried)
    models = dict.fromkeys(one.model for one in outcome.tried if one.model)
    money = f"cost {rounded(spent)} USD" if spent else ""
    return "; ".join(filter(None, (f"model {', '.join(models)}" if models else "", money)))


def _range(metric: Metric) -> Range:
    low = metric.value if metric.low is None else metric.low
    return Range(low, metric.value, metric.value if metric.high is None else metric.high)


def _metric(metric: Metric | None) -> str:
    return "unknown" if metric is None else share(_range(metric))
