"""The report of a run: what was measured, and what to say where nothing was."""

from advisor.report import runs
from advisor.report.view import Table, Text
from backends.base import Metric, RunResult, StepResult


def result(step: StepResult) -> RunResult:
    return RunResult("p", "completed", (step,), 2.0, None, (), {"python": "3"}, "then", "later")


def test_figures_stand_in_a_table_with_their_notes() -> None:
    step = StepResult("s", "lora", {"accuracy": Metric(0.5, 0.4, 0.6, 100)}, 1.0, notes=("said",))
    (found,) = runs.view(result(step)).sections
    assert isinstance(found, Table)
    assert found.rows == (("accuracy", "0.500", "0.400 to 0.600", "100"),) and found.note == "said"


def test_a_step_without_figures_has_no_empty_table() -> None:
    step = StepResult("s", "rag", {}, 1.0, counts={"passages": 1200}, notes=("flat index",))
    (found,) = runs.view(result(step)).sections
    assert isinstance(found, Text)
    assert [line.says for line in found.lines] == ["passages 1,200; flat index"]
