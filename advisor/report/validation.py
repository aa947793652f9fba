"""The view of a validation: the summary first, then the groups, then the rows if asked for."""

from collections.abc import Iterator, Mapping

from advisor.report.view import Table, View
from advisor.report.words import UNKNOWN, rounded
from advisor.validate.records import CaseReport, CaseRow, CaseScores, Report, Row, Scores

CASE_COLUMNS = ("", "decisions", "primary", "musts", "none wrong", "all three", "consensus")


def view(outcome: Report | CaseReport, *, rows: bool = False) -> View:
    """The report of a validation."""
    if isinstance(outcome, CaseReport):
        return _cases(outcome, rows=rows)
    factor = outcome.kind != "memory"
    scores = outcome.summary
    unit = "factor" if factor else "error"
    return View(
        title=f"Validation of {outcome.kind}",
        answer=(
            f"{outcome.kind}: median {unit} {_error(scores.median_error, factor)}, "
            f"90th percentile {_error(scores.p90_error, factor)} "
            f"over {scores.n_scored} rows ({scores.n_skipped} skipped, counted as wrong)",
            f"the 80 % interval holds {_share(scores.coverage_80)}, "
            f"{_share(scores.above_high)} lie above it, median width {_number(scores.width)}",
        ),
        sections=tuple(_sections(outcome, factor, rows=rows)),
    )


def _sections(outcome: Report, factor: bool, *, rows: bool) -> Iterator[Table]:
    compared: dict[str, Scores] = {"this advisor": outcome.summary}
    if (unseen := outcome.summary.leave_one_out.get("all")) is not None:
        compared["each source left out of the fit"] = unseen
    compared |= outcome.summary.baselines
    if len(compared) > 1:
        yield _table("Beside simpler estimators", compared, factor)
    for name, groups in outcome.by_group.items():
        yield _table(f"By {name}", groups, factor)
    yield _table("Left out of the fit in turn", outcome.summary.leave_one_out, factor)
    if rows:
        yield Table(
            "Rows",
            ("id", "measured", "predicted", "low", "high", "unit", "metric", "skipped"),
            tuple(_row(row) for row in outcome.rows),
        )


def _table(title: str, groups: Mapping[str, Scores], factor: bool) -> Table:
    return Table(
        title,
        ("", "rows", "skipped", "median", "90 %", "inside", "above", "width"),
        tuple(
            (
                name,
                str(scores.n_scored),
                str(scores.n_skipped),
                _error(scores.median_error, factor),
                _error(scores.p90_error, factor),
                _share(scores.coverage_80),
                _share(scores.above_high),
                _number(scores.width),
            )
            for name, scores in groups.items()
        ),
    )


def _row(row: Row) -> tuple[str, ...]:
    figures = (_number(value) for value in (row.measured, row.mid, row.low, row.high))
    return (row.id, *figures, row.unit, row.metric, row.skipped or row.unscored or "")


def _cases(outcome: CaseReport, *, rows: bool) -> View:
    scores = outcome.summary
    questions = _number(scores.median_questions)
    return View(
        title="Validation on past decisions",
        answer=(
            f"all three right in {_share(scores.all_ok)} of {scores.n} past decisions "
            f"(consensus {_share(scores.consensus_ok)}, traps {_share(scores.traps)})",
            f"with one answer unknown {_share(scores.all_ok_one_unknown)}; "
            f"median questions asked {questions}",
            f"stated confidence {_share(scores.confidence)} on average; "
            f"Brier {_number(scores.brier)}, a constant's {_number(scores.brier_constant)}",
        ),
        sections=tuple(_case_sections(outcome, rows=rows)),
    )


def _case_sections(outcome: CaseReport, *, rows: bool) -> Iterator[Table]:
    compared: dict[str, CaseScores] = {"this advisor": outcome.summary}
    compared |= outcome.summary.simple_advisors
    yield Table("Beside simple advisors", CASE_COLUMNS, tuple(map(_scores, compared.items())))
    for name, groups in outcome.by_group.items():
        yield Table(f"By {name}", CASE_COLUMNS, tuple(map(_scores, groups.items())))
    wrong = [row for row in outcome.rows if rows or not row.all_ok]
    title = "Every decision" if rows else "Where it is wrong"
    yield Table(
        title,
        ("id", "advice", "delivery", "sure", "primary", "musts", "none wrong"),
        tuple(map(_case, wrong)),
    )


def _scores(named: tuple[str, CaseScores]) -> tuple[str, ...]:
    name, scores = named
    shares = (
        scores.primary_ok,
        scores.must_ok,
        scores.not_wrong,
        scores.all_ok,
        scores.consensus_ok,
    )
    return (name, str(scores.n), *map(_share, shares))


def _case(row: CaseRow) -> tuple[str, ...]:
    marks = ("yes" if ok else "no" for ok in (row.primary_ok, row.must_ok, row.not_wrong))
    return (row.id, " + ".join(row.stack), row.delivery, _number(row.confidence), *marks)


def _error(value: float | None, factor: bool) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if factor else f"{value:.1%}"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else rounded(value)
