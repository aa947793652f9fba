"""Predictions against published or own measurements, and advice against past decisions."""

from pathlib import Path
from typing import Literal, get_args

from advisor.validate import heldout
from advisor.validate.cases import asked, cases
from advisor.validate.memory import memory
from advisor.validate.records import CaseReport, Report
from advisor.validate.runs import runs
from advisor.validate.throughput import throughput
from knowledge import cases as decisions
from knowledge import measured
from knowledge.errors import unknown

Kind = Literal["memory", "runs", "throughput", "cases"]
KINDS: tuple[Kind, ...] = get_args(Kind)

__all__ = [
    "KINDS",
    "CaseReport",
    "Kind",
    "Report",
    "cases",
    "memory",
    "report",
    "runs",
    "throughput",
]


def report(kind: str, path: Path | None = None) -> Report | CaseReport:
    """The validation of one kind over the packaged rows, or over those of a file.

    Raises:
        UserError: an unknown kind, or a file that cannot be read as such rows.
    """
    if kind == "memory":
        return memory(measured.memory(path))
    if kind == "runs":
        rows = measured.runs(path)
        return heldout.runs(runs(rows), rows)
    if kind == "throughput":
        speeds = measured.throughput(path)
        return heldout.throughput(throughput(speeds), speeds)
    if kind == "cases":
        return cases(decisions.rows(path), ask=asked, one_unknown=True)
    raise unknown("validation", kind, KINDS)
