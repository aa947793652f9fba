"""The runner on a small real backend: steps, resume, budget, interruption, other runs' folders."""

import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from backends import base, runner
from backends.base import Backend, Context, Interrupted, Metric, Plan, Predicted, Step, StepResult
from knowledge.errors import UserError
from knowledge.quantities import Range


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the counting backend."""

    to: Annotated[int, msgspec.Meta(ge=1)] = 5
    press_at: int = 0
    fails: bool = False


def check(step: Step, settings: Settings, context: Context) -> None:
    if settings.to > 100:
        raise UserError(f"step {step.name!r}: cannot count to {settings.to}; at most 100")


def pressed() -> None:
    """What Ctrl-C calls; a signal itself is sent in the tests of the command."""
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler) and handler is not signal.default_int_handler
    handler(signal.SIGINT, None)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Count in a file, one line a number, asking after each whether to stop."""
    path = context.folder / "count.txt"
    at = len(path.read_text().splitlines()) if context.resume and path.exists() else 0
    for number in range(at + 1, settings.to + 1):
        with path.open("a") as lines:
            lines.write(f"{number}\n")
        context.log(step=number)
        if number == settings.press_at and at == 0:
            pressed()
        context.check_stop(f"after {number}")
    if settings.fails:
        raise ZeroDivisionError
    return StepResult(
        step.name, step.method, {"accuracy": Metric(0.9)}, seconds=2.0, usd=0.5,
        peak_memory_bytes=2**30,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = types.ModuleType("counting_backend")
    module.check, module.run = check, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "counting_backend", module)
    face = Backend("counting", "counting_backend", Settings, {"max_steps": "to"})
    monkeypatch.setattr(base, "load", lambda method: face)
    yield


def plan(*steps: dict[str, object], budget: float | None = None) -> Plan:
    made = tuple(
        Step(f"s{number}", "lora", settings=settings) for number, settings in enumerate(steps)
    )
    return Plan("counted", made, budget_usd=budget)


def counted(folder: Path) -> list[str]:
    return (folder / "count.txt").read_text().split()


def test_steps_run_in_order_and_the_last_lies_in_the_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = runner.run(plan({"to": 2}, {"max_steps": 3}), out)
    assert result.status == "done"
    assert counted(out / "steps" / "s0") == ["1", "2"]
    assert counted(out) == ["1", "2", "3"]
    assert runner.result(out) == result
    assert runner.last_step(out).name == "s1"
    assert result.usd == pytest.approx(1.0)


def test_interrupted_then_resumed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    job = plan({"to": 2}, {"to": 6, "press_at": 4})
    with pytest.raises(Interrupted, match="after 4"):
        runner.run(job, out)
    assert runner.result(out).status == "stopped"
    with pytest.raises(UserError, match=r"has not finished.*--resume"):
        runner.last_step(out)
    result = runner.run(job, out, resume=True)
    assert result.status == "done"
    assert counted(out) == ["1", "2", "3", "4", "5", "6"]
    assert counted(out / "steps" / "s0") == ["1", "2"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_failure_keeps_what_was_done(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        runner.run(plan({"to": 2}, {"to": 2, "fails": True}), out)
    result = runner.result(out)
    assert (result.status, [step.name for step in result.steps]) == ("failed", ["s0"])


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    runner.run(plan({"to": 2}), out)
    before = (out / "result.json").read_bytes()
    with pytest.raises(UserError, match="holds a run already"):
        runner.run(plan({"to": 2}), out)
    with pytest.raises(UserError, match="another plan"):
        runner.run(plan({"to": 3}), out, resume=True)
    assert (out / "result.json").read_bytes() == before
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    with pytest.raises(UserError, match="not empty"):
        runner.run(plan({"to": 2}), tmp_path / "photos")


def test_every_step_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for bad, says in (
        ({"to": 101}, "cannot count to 101"),
        ({"tow": 3}, "tow.*did you mean 'to'"),
        ({"to": 0}, "settings: .*>= 1"),
        ({"to": 2, "max_steps": 2}, "repeats 'to'"),
    ):
        with pytest.raises(UserError, match=says):
            runner.run(plan({"to": 2}, bad), out)
        assert not out.exists()


def test_a_spent_budget_stops_before_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget of 0.3 USD is spent before 's1'"):
        runner.run(plan({"to": 2}, {"to": 2}, budget=0.3), tmp_path / "run")
    assert runner.result(tmp_path / "run").status == "over-budget"


def test_a_run_that_met_its_budget_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="is spent"):
        runner.run(plan({"to": 2}, {"to": 3}, budget=0.3), out)
    result = runner.run(plan({"to": 2}, {"to": 3}, budget=2.0), out, resume=True)
    assert result.status == "done"
    assert counted(out / "steps" / "s0") == ["1", "2"]


def test_predicted_stands_beside_measured(tmp_path: Path) -> None:
    step = Step("s", "lora", predicted=Predicted(seconds=Range(1, 2, 3), memory_gib=Range(2, 3, 4)))
    result = runner.run(Plan("p", (step,)), tmp_path / "run")
    rows = {row["quantity"]: row for row in result.predicted_vs_measured}
    assert rows["time"]["inside"] is True
    assert rows["peak memory"]["inside"] is False
    assert rows["peak memory"]["measured"] == pytest.approx(1.0)
    assert "money" not in rows


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        runner.result(tmp_path)
    (tmp_path / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        runner.result(tmp_path)
