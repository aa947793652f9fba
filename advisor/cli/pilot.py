"""`advisor pilot`."""

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from advisor import precheck
from advisor import profile as profiles
from advisor.cli.output import common, notes, print_json, screen
from advisor.cli.run import execute
from advisor.measured import of
from advisor.pilot import Finding, LeftOut, Outcome, Trial, Tried, probes, trials
from advisor.pilot.samples import Samples, samples
from advisor.profile import Profile
from advisor.questionnaire.counting import filled
from advisor.recommendation import recommend
from advisor.recommendation.records import Ranked, Recommendation
from advisor.report import pilots
from advisor.report.page import html
from advisor.report.terminal import show
from backends import plans
from knowledge.errors import UserError
from knowledge.files import made_folder, write_text

LOOKED_AT = 50  # options, in the order of their rank


@click.command()
@click.argument("profile_file", metavar="PROFILE", type=click.Path(path_type=Path))
@click.option(
    "--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="What all trials together should take; each learns from as much as fits.",
)  # fmt: skip
@click.option(
    "--budget-usd", type=click.FloatRange(min=0),
    help="What paid endpoints may cost; without it none is asked.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Where trials and results go; what is finished there is kept [default: pilots/<name>].",
)  # fmt: skip
@common
def pilot(
    profile_file: Path,
    minutes: float,
    budget_usd: float | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the leading options small, on your own data, and update the recommendation.

    Test data are never touched: a part of the training examples is held back. Run it again with
    the same --out to go on after an interruption.
    """
    profile = filled(profiles.read(profile_file))
    folder = out or Path("pilots") / (profile.name or profile_file.stem)
    before = recommend(profile, top=LOOKED_AT, measured=of(profile))
    if not before.options:
        raise UserError(f"nothing to try: {before.says}")
    parts = None if profile.data is None else samples(profile.data, made_folder(folder / "data"))
    chosen, left = trials.chosen(profile, before.options, parts, 60 * minutes, budget_usd)
    if not chosen:
        why = "; ".join(f"{'+'.join(one.stack)}: {one.because}" for one in left[:3])
        raise UserError(f"none of the options can be tried here: {why}")
    words = ["advisor", "pilot", str(profile_file), "--minutes", f"{minutes:g}", "--out"]
    again = [*words, str(folder)]
    if budget_usd is not None:
        again += ["--budget-usd", f"{budget_usd:g}"]
    work = _Work(folder, 60 * minutes, budget_usd, again, quiet)
    tried = list(work.run(chosen, left))
    tried += work.run(_curve(profile, before.options, chosen, tried, parts, work.left), left)
    found = [
        probes.learning_curve(_family(tried)),
        probes.retrieval(tried),
        probes.vocabulary(profile, before.options[0].model),
    ]
    outcome = _outcome(profile, folder, before, tried, left, [one for one in found if one])
    write_text(folder / "report.html", html(pilots.view(outcome)))
    if as_json:
        print_json(outcome)
        return
    show(pilots.view(outcome), screen())
    click.echo(f"report: {folder / 'report.html'}")
    if outcome.measured is not None:
        words = ["advisor", "recommend", str(profile_file), "--measured", outcome.measured]
        click.echo(f"use what was measured: {shlex.join(words)}")


class _Work:
    """Trials run one after the other until the time or the money is used up."""

    def __init__(
        self, folder: Path, seconds: float, usd: float | None, again: Sequence[str], quiet: bool
    ) -> None:
        self._folder, self._seconds, self._usd = folder, seconds, usd
        self._again, self._quiet = again, quiet
        self._console = notes(quiet=quiet)
        self._begun = time.monotonic()
        self._spent = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left for further trials."""
        return self._seconds - (time.monotonic() - self._begun)

    def run(self, chosen: Iterable[Trial], left_out: list[LeftOut]) -> Iterator[Tried]:
        """What each trial came to; one that cannot run is noted and left out."""
        for trial in chosen:
            try:
                yield self._one(trial)
            except UserError as reason:
                left_out.append(LeftOut(trial.option, trial.stack, str(reason)))
                self._console.print(f"  {trial.name}: left out: {reason}", markup=False)

    def _one(self, trial: Trial) -> Tried:
        folder = self._folder / "trials" / trial.name
        kept = (folder / "result.json").is_file()
        if self.left <= 0 and not kept:
            raise UserError(f"the {self._seconds / 60:g} minutes are used up; say --minutes")
        plan = trial.plan
        if self._usd is not None:
            plan = trials.capped(plan, self._usd - self._spent)
        refusal = precheck.refusal(plan)
        if refusal:
            raise UserError(refusal)
        made_folder(folder.parent)
        plan_file = folder.with_suffix(".yaml")
        plans.write(plan, plan_file)
        self._console.print(f"[bold]{trial.name}[/]")
        result = execute(
            plan, folder, resume=(folder / "plan.yaml").is_file(), anyway=True, again=self._again,
            quiet=self._quiet,
        )  # fmt: skip
        self._spent += result.usd or 0.0
        return trials.outcome(trial, folder, result)


def _curve(
    profile: Profile,
    options: tuple[Ranked, ...],
    chosen: list[Trial],
    tried: list[Tried],
    parts: Samples | None,
    seconds: float,
) -> list[Trial]:
    """The learning curve of the best option that learnt from examples."""
    whole = trials.best([one for one in tried if one.rows])
    if whole is None or parts is None:
        return []
    option = next(one for one in options if one.id == whole.option)
    trial = next(one for one in chosen if one.name == whole.name)
    return trials.curve(profile, option, trial, parts, seconds)


def _family(tried: list[Tried]) -> list[Tried]:
    """The trials of the learning curve, the whole one among them."""
    stands_for = {one.stands_for for one in tried} - {None}
    return [one for one in tried if one.stands_for or one.name in stands_for]


def _outcome(
    profile: Profile,
    folder: Path,
    before: Recommendation,
    tried: list[Tried],
    left: list[LeftOut],
    found: list[Finding],
) -> Outcome:
    rows = trials.measured(tried)
    place = folder / "measured.yaml"
    after = before
    if rows:
        write_text(place, trials.text(rows))
        after = recommend(profile, top=LOOKED_AT, measured=of(profile, [place]))
    return Outcome(
        profile=profile.name,
        tried=tuple(tried),
        left_out=tuple(left),
        findings=tuple(found),
        measured=str(place) if rows else None,
        before=trials.place_of(before),
        after=trials.place_of(after),
        target=profile.target_quality,
    )
