"""`advisor demo`: the main job, offline, on the samples that come with the package."""

from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

import backends
from advisor import plan as planning
from advisor import profile as profiles
from advisor.cli.output import common, print_json, screen
from advisor.cli.run import execute
from advisor.profile import Profile
from advisor.questionnaire.counting import filled
from advisor.recommendation import recommend
from advisor.recommendation.records import Recommendation
from advisor.report import advice, runs
from advisor.report.page import html
from advisor.report.terminal import show
from backends import plans
from backends.base import Plan
from knowledge import SAMPLES
from knowledge.files import made_folder, write_text

MESSAGES = (
    "the bike at the station wouldn't come out of the dock but the app says i'm riding it",
    "i was charged twice for one short ride yesterday",
)
QUESTION = "what happens if i bring it back after the time is up?"


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("advisor-demo"), show_default=True,
    help="Where everything goes; a finished demo there is shown again.",
)  # fmt: skip
@common
def demo(out: Path, as_json: bool, quiet: bool) -> None:
    """The whole loop on sample data: advise, run, evaluate, report; no key, no hub.

    A team wants riders' messages sorted into intents, then answers from its handbook.
    """
    console = Console(quiet=True) if as_json else screen()
    told: dict[str, Any] = {}
    for name in ("support", "handbook"):
        told[name] = _loop(name, out, console, quiet=quiet)
    if as_json:
        print_json(told)
        return
    console.print(f"\n[bold]Everything is in {out}[/]: profiles, plans, runs and reports")
    console.print(f"look at {out / 'support.html'} and {out / 'support' / 'report.html'}")
    console.print("your own task: advisor ask", style="dim")


def _loop(name: str, out: Path, console: Console, *, quiet: bool) -> dict[str, Any]:
    """Profile, recommendation, plan, run and use of one sample task."""
    profile = _profile(name)
    recommendation = recommend(profile)
    plan = planning.plan(profile, planning.chosen(recommendation, None))
    _write(name, out, profile, recommendation, plan)
    console.rule(f"[bold]{name}[/]: what to do")
    _advice(recommendation, profile, console)
    console.rule(f"[bold]{name}[/]: doing it")
    plan_file = out / f"{name}-plan.yaml"
    folder = out / name
    again = ["advisor", "run", str(plan_file), "--out", str(folder), "--resume"]
    result = execute(plan, folder, resume=folder.exists(), anyway=False, again=again, quiet=quiet)
    show(runs.view(result), console)
    _use(plan, folder, console)
    return {"recommendation": recommendation, "plan": plan, "result": result}


def _profile(name: str) -> Profile:
    """The sample's profile; what its files tell is counted."""
    return filled(profiles.read(SAMPLES / f"profile_{name}.yaml"))


def _write(
    name: str, out: Path, profile: Profile, recommendation: Recommendation, plan: Plan
) -> None:
    made_folder(out)
    profiles.write(profile, out / f"{name}-profile.yaml")
    plans.write(plan, out / f"{name}-plan.yaml")
    page = html(advice.view(recommendation, profile.name))
    write_text(out / f"{name}.html", page)


def _advice(recommendation: Recommendation, profile: Profile, console: Console) -> None:
    """The answer and the reasons; the rest is in the report."""
    whole = advice.view(recommendation, profile.name)
    show(msgspec.structs.replace(whole, sections=whole.sections[:2], footer=()), console)


def _use(plan: Plan, folder: Path, console: Console) -> None:
    method = plan.steps[-1].method
    wanted = (QUESTION,) if method == "rag" else MESSAGES
    console.print()
    for answer in backends.load(method).predict(folder, wanted):
        console.print(f"> {answer.text}", markup=False)
        said = answer.label or answer.answer or "no passage answers this well enough"
        source = answer.citations[0] if answer.citations else {}
        where = f"  [{source['document']}]" if source and not answer.abstained else ""
        console.print(f"  {said}{where}", style="bold", markup=False)
