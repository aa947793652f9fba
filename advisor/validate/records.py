"""What a validation prints, and the arithmetic of its scores."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, inf, isinf
from statistics import median
from typing import Literal

import msgspec
from msgspec.structs import asdict

from knowledge.quantities import Range

Error = Callable[[float, float], float]


class Row(msgspec.Struct, frozen=True):
    """One measured row beside its prediction, in `unit`.

    `skipped` says why there is no prediction. `unscored` says why a row stays out of the summary
    though it may be predicted (a bound, a suspect figure, another kind of run); it is None where
    the row counts.
    """

    id: str
    group: dict[str, str]
    measured: float | None
    low: float | None
    mid: float | None
    high: float | None
    unit: str
    metric: str
    skipped: str | None = None
    unscored: str | None = None

    @property
    def predicted(self) -> bool:
        """Whether there is a figure on both sides."""
        return self.skipped is None and self.mid is not None and self.measured is not None


class Scores(msgspec.Struct, frozen=True):
    """How near predictions are to measurements.

    A skipped row counts as an infinite error and as outside its interval; an infinite quantile
    is None. `above_high` is the share of predicted rows measured above `high`; `width` the median
    of (high - low) / mid for memory and of high / low for times and speeds.
    """

    n_scored: int
    n_skipped: int
    median_error: float | None
    p90_error: float | None
    coverage_80: float | None
    above_high: float | None
    width: float | None


class Summary(Scores, frozen=True):
    """The scores of the rows that count, beside baselines.

    `leave_one_out`: each source's own rows, predicted by constants fitted without its
    organisation; "all" are these together.
    """

    leave_one_out: dict[str, Scores]
    baselines: dict[str, Scores]


class Report(msgspec.Struct, frozen=True):
    """A validation: every row in file order, the summary, and the scores of groups.

    `by_group["unscored"]` holds what the summary leaves out, by reason.
    """

    kind: Literal["memory", "runs", "throughput"]
    rows: tuple[Row, ...]
    summary: Summary
    by_group: dict[str, dict[str, Scores]]


class CaseRow(msgspec.Struct, frozen=True):
    """One past decision beside the advice for its profile."""

    id: str
    stack: tuple[str, ...]
    delivery: str
    confidence: float | None
    primary_ok: bool
    must_ok: bool
    not_wrong: bool
    all_ok: bool
    consensus_ok: bool
    trap: bool
    skipped: str | None = None


class CaseScores(msgspec.Struct, frozen=True):
    """Shares of decisions that are right; `traps` is all_ok of the traps alone."""

    n: int
    primary_ok: float
    must_ok: float
    not_wrong: float
    all_ok: float
    consensus_ok: float
    traps: float | None


class CaseSummary(CaseScores, frozen=True):
    """The advisor's scores, how well its confidence knows them, and how robust they are.

    `brier` is to be below `brier_constant`, that of always stating `all_ok`. `median_questions`
    is None where no questionnaire was driven. `all_ok_one_unknown` is all_ok with one answer
    replaced by "don't know", over every answer of every case.
    """

    n_skipped: int
    confidence: float | None
    brier: float | None
    brier_constant: float
    median_questions: float | None
    all_ok_one_unknown: float | None
    simple_advisors: dict[str, CaseScores]


class CaseReport(msgspec.Struct, frozen=True):
    """The decisions in file order, the summary, and the scores by group and kind of evidence."""

    kind: Literal["cases"]
    rows: tuple[CaseRow, ...]
    summary: CaseSummary
    by_group: dict[str, dict[str, CaseScores]]


def document(source: str) -> str:
    """The document of a source, without table, commit or remark; a folder of results is one."""
    head = re.split(r"[@,\[(\"]| (?:\+|table|docs) ", source, maxsplit=1)[0].strip()
    return re.sub(r"(/results)/.*", r"\1", head)


def off_by(mid: float, measured: float) -> float:
    """The relative error of a predicted size."""
    return abs(mid / measured - 1)


def factor(mid: float, measured: float) -> float:
    """The factor, at least 1, between a predicted time or speed and the measured one."""
    return max(mid / measured, measured / mid) if mid > 0 else inf


def quantile(values: Sequence[float], share: float) -> float | None:
    """The quantile of values by linear interpolation; None of none, or where it is infinite."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    between = low if place == below else low + (high - low) * (place - below)
    return None if isinf(between) or between != between else between


def scores(rows: Iterable[Row], error: Error) -> Scores:
    """The scores of rows, all of which count."""
    listed = list(rows)
    done = [row for row in listed if row.predicted]
    errors = [error(row.mid or 0.0, row.measured or 0.0) for row in done]
    errors += [inf] * (len(listed) - len(done))
    inside = [_bounds(row).low <= (row.measured or 0) <= _bounds(row).high for row in done]
    above = [(row.measured or 0) > _bounds(row).high for row in done]
    return Scores(
        n_scored=len(done),
        n_skipped=len(listed) - len(done),
        median_error=quantile(errors, 0.5),
        p90_error=quantile(errors, 0.9),
        coverage_80=sum(inside) / len(listed) if listed else None,
        above_high=sum(above) / len(done) if done else None,
        width=median(_width(_bounds(row), error) for row in done) if done else None,
    )


def report(
    kind: Literal["memory", "runs", "throughput"],
    rows: Iterable[Row],
    baselines: Mapping[str, Sequence[Row]] | None = None,
) -> Report:
    """The rows with their summary and groups.

    Args:
        baselines: the same rows as simpler estimators predict them, by name.
    """
    listed = tuple(rows)
    error = off_by if kind == "memory" else factor
    counted = [row for row in listed if row.unscored is None]
    sources = _grouped(counted, lambda row: row.group["source"])
    left_out = {
        source: scores([row for row in counted if row.group["source"] != source], error)
        for source in sources
    }
    simple = {
        name: scores([row for row in others if row.unscored is None], error)
        for name, others in (baselines or {}).items()
    }
    groups = {"source": sources, "method": _grouped(counted, lambda row: row.group["method"])}
    groups["unscored"] = _grouped(
        (row for row in listed if row.unscored is not None), lambda row: row.unscored or ""
    )
    return Report(
        kind,
        listed,
        Summary(**asdict(scores(counted, error)), leave_one_out=left_out, baselines=simple),
        {
            key: {name: scores(members, error) for name, members in named.items()}
            for key, named in groups.items()
        },
    )


def _grouped(rows: Iterable[Row], name: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return groups


def _bounds(row: Row) -> Range:
    return Range(row.low or 0.0, row.mid or 0.0, row.high or 0.0)


def _width(bounds: Range, error: Error) -> float:
    if error is off_by:
        return (bounds.high - bounds.low) / bounds.mid if bounds.mid else inf
    return bounds.high / bounds.low if bounds.low else inf
