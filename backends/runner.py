"""Running a plan: steps in order, checked first, resumable, within the budget.

A run folder holds `plan.yaml`, `result.json` and what the last step made (`model/`, `adapter/`,
`index/`...); earlier steps have a folder of the same kind under `steps/<name>/`. A finished step
leaves `step.json`, so that a resumed run goes on with the next one.
"""

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from backends import base, plans
from backends.base import Context, Interrupted, Plan, RunResult, Step, StepResult
from backends.progress import Progress, Silence
from knowledge.errors import UserError
from knowledge.files import made_folder
from knowledge.quantities import GIB, HOUR, Range

LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "faiss-cpu", "openai")


def run(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    step_done: Callable[[Step, StepResult], None] | None = None,
) -> RunResult:
    """Execute a plan's steps in order and write the run folder.

    Args:
        plan: with absolute paths (`plans.read` makes them so).
        folder: new or empty, or an earlier run of the same plan with `resume`.
        step_done: told after each step that finishes here.
    Raises:
        UserError: a fault in plan, data, settings or folder; nothing has been written then.
        Interrupted: the user stopped it; what was done is kept for `resume`.
    """
    _refuse_other_run(plan, folder, resume=resume)
    contexts = _contexts(plan, folder, resume=resume, progress=progress or Silence())
    for step, context in zip(plan.steps, contexts, strict=True):
        base.load(step.method).check(step, context)
    made_folder(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            plans.write(plan, folder / "plan.yaml")
            return _execute(plan, folder, contexts, step_done)
    except Timeout:
        raise UserError(f"another process is running in {str(folder)!r}; wait for it") from None


def result(folder: Path) -> RunResult:
    """The result of a run folder.

    Raises:
        UserError: the folder is no run, or its result is unreadable.
    """
    path = folder / "result.json"
    if not path.is_file():
        state = "has not finished a step" if (folder / "plan.yaml").is_file() else "is no run"
        raise UserError(f"{str(folder)!r} {state} (no result.json); give a run's folder")
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunResult)
    except msgspec.DecodeError as error:
        raise UserError(f"{str(path)!r} is damaged: {error}; run with --resume") from None


def last_step(folder: Path) -> Step:
    """The step whose artefact lies in the run folder itself.

    Raises:
        UserError: the folder is no run, or that step has not finished.
    """
    if not (folder / "plan.yaml").is_file():
        raise UserError(f"{str(folder)!r} is no run (no plan.yaml); give a run's folder")
    plan = plans.read(folder / "plan.yaml")
    if not (folder / "step.json").is_file():
        raise UserError(
            f"the run in {str(folder)!r} has not finished; "
            f"go on with: advisor run {folder / 'plan.yaml'} --out {folder} --resume"
        )
    return plan.steps[-1]


def step_folder(plan: Plan, step: Step, folder: Path) -> Path:
    """Where a step works: the run folder for the last one, `steps/<name>` for those before."""
    return folder if step is plan.steps[-1] else folder / "steps" / step.name


def _refuse_other_run(plan: Plan, folder: Path, *, resume: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"--out {str(folder)!r} is a file; give a folder")
    held = folder / "plan.yaml"
    if held.is_file():
        if not resume:
            raise UserError(
                f"{str(folder)!r} holds a run already; go on with --resume or give another --out"
            )
        if plans.work(plans.read(held)) != plans.work(plan):
            raise UserError(
                f"{str(folder)!r} holds a run of another plan; give another --out, "
                f"or resume that one: advisor run {held} --out {folder} --resume"
            )
    elif any(entry.name != ".lock" for entry in folder.iterdir()):
        raise UserError(f"{str(folder)!r} is not empty and holds no run; give another --out")


def _contexts(plan: Plan, folder: Path, *, resume: bool, progress: Progress) -> list[Context]:
    folders = {step.name: step_folder(plan, step, folder) for step in plan.steps}
    contexts = []
    for number, step in enumerate(plan.steps):
        before = {earlier.name: folders[earlier.name] for earlier in plan.steps[:number]}
        contexts.append(
            Context(
                folder=folders[step.name],
                seed=plan.seed,
                resume=resume,
                artefacts=before,
                progress=progress,
                budget_usd=plan.budget_usd,
                usd_per_hour=plan.usd_per_hour,
            )
        )
    return contexts


def _execute(
    plan: Plan,
    folder: Path,
    contexts: list[Context],
    step_done: Callable[[Step, StepResult], None] | None,
) -> RunResult:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    done: list[StepResult] = []

    def save(status: str) -> RunResult:
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        outcome = RunResult(
            plan=plan.name,
            status=status,
            steps=tuple(done),
            seconds=sum(step.seconds for step in done),
            usd=_spent(done),
            predicted_vs_measured=tuple(_comparisons(plan, done)),
            environment=environment(),
            started=started,
            finished=finished,
        )
        write_atomically(folder / "result.json", msgspec.json.format(msgspec.json.encode(outcome)))
        return outcome

    for step, context in zip(plan.steps, contexts, strict=True):
        finished = _finished(context.folder, step)
        if finished is not None:
            done.append(finished)
            continue
        context.folder.mkdir(parents=True, exist_ok=True)
        left = None if plan.budget_usd is None else plan.budget_usd - (_spent(done) or 0.0)
        if left is not None and left < 0:
            save("over-budget")
            raise UserError(f"the budget of {plan.budget_usd} USD is spent before {step.name!r}")
        try:
            with _stoppable(left, plan.usd_per_hour) as should_stop:
                live = msgspec.structs.replace(context, budget_usd=left, should_stop=should_stop)
                outcome = base.load(step.method).run(step, live)
        except BaseException as error:
            save("stopped" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
            raise
        done.append(outcome)
        figures = {name: metric.value for name, metric in outcome.metrics.items()}
        context.log(finished=step.name, seconds=outcome.seconds, **figures)
        write_atomically(context.folder / "step.json", msgspec.json.encode(outcome))
        if step_done is not None:
            step_done(step, outcome)
    return save("done")


def _finished(folder: Path, step: Step) -> StepResult | None:
    path = folder / "step.json"
    if not path.is_file():
        return None
    outcome = msgspec.json.decode(path.read_bytes(), type=StepResult)
    return outcome if outcome.name == step.name else None


def _spent(done: list[StepResult]) -> float | None:
    known = [step.usd for step in done if step.usd is not None]
    return sum(known) if known else None


def _comparisons(plan: Plan, done: list[StepResult]) -> Iterator[dict[str, Any]]:
    """Predicted beside measured, one row a quantity; unknown predictions are left out."""
    for step, outcome in zip(plan.steps, done, strict=False):
        predicted = step.predicted
        peak = outcome.peak_memory_bytes
        quality = outcome.metrics.get(predicted.quality_metric or "")
        memory = predicted.memory_gib
        if outcome.memory_metric == "allocated" and predicted.allocated_gib is not None:
            memory = predicted.allocated_gib
        rows: tuple[tuple[str, str, Range | None, float | None], ...] = (
            ("time", "s", predicted.seconds, outcome.seconds),
            ("peak memory", "GiB", memory, None if peak is None else peak / GIB),
            ("money", "USD", predicted.usd, outcome.usd),
            (
                predicted.quality_metric or "quality",
                "",
                predicted.quality,
                quality.value if quality else None,
            ),
        )
        for quantity, unit, interval, measured in rows:
            if interval is None or measured is None:
                continue
            yield {
                "step": step.name,
                "quantity": quantity,
                "unit": unit,
                "predicted": msgspec.to_builtins(interval),
                "measured": measured,
                "inside": interval.low <= measured <= interval.high,
            }


@contextmanager
def _stoppable(budget: float | None, usd_per_hour: float | None) -> Iterator[Callable[[], bool]]:
    """A question that turns true on the first Ctrl-C, or when renting has used up the budget.

    The second Ctrl-C stops at once.
    """
    asked = False
    begun = time.monotonic()

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def should_stop() -> bool:
        if asked or budget is None or not usd_per_hour:
            return asked
        return (time.monotonic() - begun) / HOUR * usd_per_hour >= budget

    try:
        previous = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not the main thread: nobody can press Ctrl-C here
        yield should_stop
        return
    try:
        yield should_stop
    finally:
        signal.signal(signal.SIGINT, previous)


def environment() -> dict[str, str]:
    """The versions and the machine a result was measured with."""
    seen = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count() or "unknown"),
    }
    for name in LIBRARIES:
        try:
            seen[name] = version(name)
        except PackageNotFoundError:
            continue
    return seen


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader or a crash sees the old content or the new, never a part."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
