"""Every organisation's rows predicted by constants fitted without them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from msgspec.structs import replace

from advisor.estimates.efficiency import Coefficients, coefficients
from advisor.validate import refit
from advisor.validate.records import Report, Row, document, factor, scores
from advisor.validate.runs import job as run_job
from advisor.validate.runs import unscored as run_unscored
from advisor.validate.throughput import job as speed_job
from advisor.validate.throughput import unscored as speed_unscored
from knowledge import measured
from knowledge.errors import UserError
from knowledge.measured import RunRow, ThroughputRow


def runs(report: Report, rows: Sequence[RunRow]) -> Report:
    """The report with the scores of rows left out of the fit."""
    return _added(report, (_of_run(row) for row in rows))


def throughput(report: Report, rows: Sequence[ThroughputRow]) -> Report:
    """The same for speeds; only training is fitted, so inference rows stay as they are."""
    return _added(report, (_of_speed(row) for row in rows))


def organisation(row: RunRow | ThroughputRow) -> str:
    """Who ran it: the organisation, or the owner of the repository that a source names."""
    if isinstance(row, RunRow):
        return (row.organisation or document(row.source)).lower()
    return document(row.source).partition("/")[0].lower()


@cache
def packaged() -> tuple[refit.Point, ...]:
    """The packaged rows that fits may see: scored runs, and scored speeds of training.

    A run weighs one, a source of n speeds as much as the root of n runs: its rows are alike.
    """
    runs = [row for row in measured.runs() if run_unscored(row) is None]
    speeds = [row for row in measured.throughput() if speed_unscored(row) is None]
    many = Counter(row.source for row in speeds)
    points = [point for point in map(_of_run, runs) if point is not None]
    for row in speeds:
        point = _of_speed(row)
        if point is not None:
            points.append(point._replace(weight=many[row.source] ** -0.5))
    return tuple(points)


@cache
def without(organisation: str) -> Coefficients:
    """The coefficients fitted to all packaged rows but those of one organisation."""
    return refit.fitted([point for point in packaged() if point.organisation != organisation])


def _of_run(row: RunRow) -> refit.Point | None:
    hours = row.measured_gpu_hours
    try:
        keys = run_job(row)
        return refit.point(keys, hours, organisation(row), whole=True) if hours else None
    except UserError:
        return None


def _of_speed(row: ThroughputRow) -> refit.Point | None:
    speed = row.measured_per_gpu
    try:
        keys = speed_job(row)
        return refit.point(keys, speed, organisation(row), whole=False) if speed else None
    except UserError:
        return None


def _added(report: Report, points: Iterable[refit.Point | None]) -> Report:
    moved = [_moved(row, point) for row, point in zip(report.rows, points, strict=True)]
    counted = [row for row in moved if row.unscored is None]
    sources = dict.fromkeys(row.group["source"] for row in counted)
    left_out = {
        source: scores([row for row in counted if row.group["source"] == source], factor)
        for source in sources
    }
    left_out["all"] = scores(counted, factor)
    summary = replace(report.summary, leave_one_out=left_out)
    return replace(report, summary=summary)


def _moved(row: Row, point: refit.Point | None) -> Row:
    """The row as constants that have not seen its organisation predict it."""
    if point is None or row.mid is None or row.low is None or row.high is None:
        return row
    by = refit.hours(point, without(point.organisation)) / refit.hours(point, coefficients())
    if not point.whole:
        by = 1 / by
    return replace(row, low=row.low * by, mid=row.mid * by, high=row.high * by)
