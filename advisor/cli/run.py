"""`advisor run`."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from advisor import precheck
from advisor.calibration import learning
from advisor.cli import INTERRUPTED
from advisor.cli.output import common, notes, print_json, screen
from advisor.cli.progress import Bar
from advisor.report import runs
from advisor.report.page import html
from advisor.report.terminal import show
from advisor.steps.foretold import foretold
from backends import plans, runner
from backends.base import Interrupted, Plan, RunResult, Step, StepResult
from knowledge.errors import UserError
from knowledge.files import write_text


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: runs/<name>].")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run in that folder.")
@click.option("--yes", "-y", is_flag=True, help="Run even if the estimate says it does not fit.")
@common
def run(
    plan_file: Path, out: Path | None, resume: bool, yes: bool, as_json: bool, quiet: bool
) -> None:
    """Execute a plan: every check first, then step by step, resumable, within the budget."""
    plan = plans.read(plan_file)
    folder = out or Path("runs") / plan.name
    again = ["advisor", "run", str(plan_file), "--out", str(folder), "--resume"]
    result = execute(plan, folder, resume=resume, anyway=yes, again=again, quiet=quiet)
    if as_json:
        print_json(result)
        return
    show(runs.view(result, plan), screen())
    click.echo(f"run folder: {folder}   report: {folder / 'report.html'}")


def execute(
    plan: Plan, folder: Path, *, resume: bool, anyway: bool, again: Sequence[str], quiet: bool
) -> RunResult:
    """Run a plan with a progress bar, and write its report beside the result.

    Args:
        anyway: run even if the estimate says that it does not fit.
        again: the command that goes on after a stop.

    Raises:
        UserError: the plan cannot run; or it was stopped, and how to go on.
    """
    console = notes(quiet=quiet)
    begun = folder / "plan.yaml"
    plan = foretold(plan, plans.read(begun) if resume and begun.is_file() else None)
    refusal = precheck.refusal(plan)
    if refusal and not anyway:
        raise UserError(f"{refusal}; change the plan, or run it anyway with --yes")
    with Bar(console) as bar:

        def step_done(step: Step, outcome: StepResult) -> None:
            bar.note(f"{step.name}: done in {outcome.seconds:.0f} s")

        try:
            result = runner.run(plan, folder, resume=resume, progress=bar, step_done=step_done)
        except (Interrupted, KeyboardInterrupt) as stopped:
            raise _stopped(str(stopped), again, console) from None
    write_text(folder / "report.html", html(runs.view(result, plan)))
    _learn(folder, console)
    return result


def _learn(folder: Path, console: Console) -> None:
    """Keep predicted beside measured for later estimates; a run is none the worse without."""
    try:
        learnt = learning.keep(learning.of_folder(folder).runs)
    except UserError as reason:
        console.print(f"nothing learnt for later estimates: {reason}", markup=False)
        return
    if learnt:
        console.print(f"{learnt} measured figures kept for later estimates: advisor calibrate")


def _stopped(at: str, again: Sequence[str], console: Console) -> BaseException:
    console.print(f"{at or 'stopped'}; nothing is lost", markup=False)
    console.print(f"go on with: {shlex.join(again)}", markup=False)
    return click.exceptions.Exit(INTERRUPTED)
