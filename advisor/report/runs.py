"""The view of a run: what came out, and predicted beside measured."""

from collections.abc import Iterator

import msgspec

from advisor.report.view import Bar, Chart, Line, Table, Text, View
from advisor.report.words import duration, interval, rounded
from backends.base import Metric, Plan, RunResult, StepResult
from knowledge.quantities import GIB, Range, exactly

HEADLINES = ("accuracy", "recall@5", "recall@1", "token_f1", "exact_match")


def view(result: RunResult, plan: Plan | None = None) -> View:
    """The report of a run."""
    return View(
        title=f"Run of plan '{result.plan}': {result.status}",
        answer=tuple(_answer(result)),
        sections=tuple(_sections(result, plan)),
        footer=(
            f"started {result.started}, finished {result.finished}; "
            + ", ".join(f"{name} {value}" for name, value in result.environment.items()),
            "Intervals of metrics are 95 %; intervals of predictions are 80 %.",
        ),
    )


def _answer(result: RunResult) -> Iterator[str]:
    if not result.steps:
        yield f"{result.plan}: {result.status}, no step finished"
        return
    last = result.steps[-1]
    name = next((name for name in HEADLINES if name in last.metrics), None)
    measured = f"{name} {_metric(last.metrics[name])}" if name else last.method
    yield f"{last.name}: {measured}"
    facts = [f"took {duration(exactly(result.seconds))}"]
    if last.peak_memory_bytes:
        kind = f" ({last.memory_metric})" if last.memory_metric else ""
        facts.append(f"peak memory {rounded(last.peak_memory_bytes / GIB)} GiB{kind}")
    if result.usd is not None:
        facts.append(f"cost {rounded(result.usd)} USD")
    yield ", ".join(facts)
    inside = [row["inside"] for row in result.predicted_vs_measured]
    if inside:
        yield f"{sum(inside)} of {len(inside)} predictions held (measured inside the interval)"


def _sections(result: RunResult, plan: Plan | None) -> Iterator[Table | Chart | Text]:
    for step in result.steps:
        yield _measured(step, several=len(result.steps) > 1)
    rows = result.predicted_vs_measured
    if rows:
        yield Table(
            "Predicted and measured",
            ("step", "quantity", "predicted", "measured", "inside"),
            tuple(
                (
                    str(row["step"]),
                    str(row["quantity"]),
                    interval(_range(row["predicted"]), str(row["unit"])),
                    f"{rounded(row['measured'])} {row['unit']}".strip(),
                    "yes" if row["inside"] else "no",
                )
                for row in rows
            ),
        )
        yield Chart(
            "Prediction over measurement",
            "measured = 1",
            tuple(
                Bar(
                    f"{row['step']}: {row['quantity']}",
                    _range(row["predicted"]).scaled(1 / row["measured"]),
                    mark=1.0,
                )
                for row in rows
                if row["measured"] > 0
            ),
            note="The band is the predicted interval, the stroke the measured value.",
        )
    if plan is not None:
        yield Table(
            "Plan",
            ("step", "method", "model", "settings"),
            tuple(
                (
                    step.name,
                    step.method,
                    step.model or "",
                    ", ".join(f"{key} {value}" for key, value in step.settings.items()),
                )
                for step in plan.steps
            ),
        )


def _measured(step: StepResult, *, several: bool) -> Table | Text:
    rows = tuple(
        (
            name,
            _figure(metric.value),
            ""
            if metric.low is None or metric.high is None
            else f"{_figure(metric.low)} to {_figure(metric.high)}",
            "" if metric.n is None else f"{metric.n:,}",
        )
        for name, metric in step.metrics.items()
    )
    counts = ", ".join(
        f"{name.replace('_', ' ')} {value:,}"
        for name, value in step.counts.items()
        if not name.endswith("_bytes")
    )
    title = f"Measured in {step.name}" if several else "Measured"
    note = "; ".join(filter(None, (counts, *step.notes)))
    if not rows:
        return Text(title, (Line(note),))
    return Table(title, ("metric", "value", "95 % interval", "items"), rows, note=note)


def _figure(value: float) -> str:
    """A metric: shares at three digits behind the point, larger figures rounded."""
    return f"{value:.3f}" if abs(value) <= 1 else rounded(value)


def _metric(metric: Metric) -> str:
    shown = _figure(metric.value)
    if metric.low is None or metric.high is None:
        return shown
    return f"{shown} ({_figure(metric.low)} to {_figure(metric.high)})"


def _range(value: object) -> Range:
    return msgspec.convert(value, Range)
