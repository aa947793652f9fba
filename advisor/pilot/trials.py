"""Which options a pilot tries, with how much of the data, and in which order."""

from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

import backends
from advisor import doctor
from advisor import plan as planning
from advisor.measured import METRICS, Measured
from advisor.pilot import FirstPlace, LeftOut, Trial, Tried
from advisor.pilot.samples import FEWEST, Samples
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Recommendation
from backends import plans, weights
from backends.base import Plan, RunResult, Step
from knowledge import methods
from knowledge.errors import UserError
from knowledge.quantities import GIB

MOST = 4  # options; those further down are unlikely to come first
ASKED = 40  # held-out examples that a model behind an endpoint is asked
MADE_QUESTIONS = 50  # where documents come without questions
CURVE = (0.25, 0.5)  # of the examples that the leading option learnt from


def chosen(
    profile: Profile,
    options: Iterable[Ranked],
    samples: Samples | None,
    seconds: float,
    budget_usd: float | None,
) -> tuple[list[Trial], list[LeftOut]]:
    """The trials of the leading options, in the order of their rank, and what is not tried.

    One trial stands for all options of a stack and delivery. Each gets an even share of the time;
    an option that would take longer learns from fewer examples.

    Args:
        samples: of the profile's examples; None where it has none.
        seconds: that all trials together may take.
        budget_usd: what they may spend; None asks no paid endpoint.
    """
    trials: list[Trial] = []
    out: list[LeftOut] = []
    seen: set[tuple[tuple[str, ...], str]] = set()
    for option in options:
        way = (option.stack, option.delivery)
        if way in seen:
            continue
        seen.add(way)
        if len(trials) == MOST:
            out.append(_left(option, f"{MOST} options that rank higher are tried"))
            continue
        try:
            trial = _trial(profile, option, samples, seconds / MOST, budget_usd)
            _require(option, trial.plan, budget_usd)
            trials.append(trial)
        except UserError as reason:
            out.append(_left(option, str(reason)))
    return trials, out


def curve(
    profile: Profile, option: Ranked, whole: Trial, samples: Samples, seconds: float
) -> list[Trial]:
    """The smaller parts of a trial's examples that fit into the time: its learning curve."""
    made = []
    for share in CURVE:
        rows = round(share * whole.rows)
        if rows < FEWEST:
            continue
        part = _learning(profile, option, samples, rows, None)
        if part.seconds is None or part.seconds > seconds:
            break
        seconds -= part.seconds
        made.append(replace(part, stands_for=whole.name))
    return made


def outcome(trial: Trial, folder: Path, result: RunResult) -> Tried:
    """What a finished trial's run came to."""
    metrics = {name: one for step in result.steps for name, one in step.metrics.items()}
    peaks = [step.peak_memory_bytes for step in result.steps if step.peak_memory_bytes]
    memory = [step.predicted.memory_gib for step in trial.plan.steps if step.predicted.memory_gib]
    times = [step.predicted.seconds for step in trial.plan.steps]
    total = times[0]
    for one in times[1:]:
        total = None if total is None or one is None else total + one
    return Tried(
        name=trial.name,
        option=trial.option,
        stack=trial.stack,
        model=trial.model,
        folder=str(folder),
        rows=trial.rows,
        metrics=metrics,
        metric=next((name for name in METRICS if name in metrics), None) if _whole(trial) else None,
        seconds=result.seconds,
        predicted_seconds=total,
        peak_gib=max(peaks) / GIB if peaks else None,
        predicted_gib=max(memory, key=lambda one: one.mid, default=None),
        usd=result.usd,
        stands_for=trial.stands_for,
    )


def best(tried: Iterable[Tried]) -> Tried | None:
    """The trial with the best figure of the metric that most trials share; None without one."""
    known = [(one, one.metric, one.quality) for one in tried]
    common = Counter(metric for _, metric, found in known if found).most_common(1)
    shared = [(found.value, one) for one, metric, found in known
              if found and metric == common[0][0]]  # fmt: skip
    return max(shared, key=lambda pair: pair[0])[1] if shared else None


def measured(tried: Iterable[Tried]) -> tuple[Measured, ...]:
    """What trials found, as rows that overrule expectations; parts of a curve are none."""
    rows = []
    for one in tried:
        found = one.quality
        if found is None or one.metric is None or one.stands_for is not None:
            continue
        rows.append(
            Measured(
                approach="+".join(one.stack),
                metric=one.metric,
                value=found.value,
                low=found.low,
                high=found.high,
                n=found.n,
                model=one.model,
                source=f"pilot: {one.folder}",
            )
        )
    return tuple(rows)


def text(rows: Iterable[Measured]) -> str:
    """Measured rows as the file that `advisor recommend --measured` reads."""
    plain = {"measured": [msgspec.to_builtins(row) for row in rows]}
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def capped(plan: Plan, usd: float) -> Plan:
    """The plan with what is left of the pilot's money as its budget.

    Raises:
        UserError: nothing is left.
    """
    if usd <= 0:
        raise UserError("the money is used up; say --budget-usd")
    return replace(plan, budget_usd=usd)


def place_of(recommendation: Recommendation) -> FirstPlace:
    """The first place of a recommendation."""
    return FirstPlace(recommendation.stack, recommendation.delivery, recommendation.confidence)


def _whole(trial: Trial) -> bool:
    """Whether the steps do all that the option does: without a model, found passages answer."""
    steps = {methods.find(step.method).approach or step.method for step in trial.plan.steps}
    return steps >= set(trial.stack)


def _left(option: Ranked, because: str) -> LeftOut:
    return LeftOut(option.id, option.stack, because)


def _require(option: Ranked, plan: Plan, budget_usd: float | None) -> None:
    """Look whether the steps of an option can be tried here and now.

    Raises:
        UserError: it cannot, and why.
    """
    if option.delivery == "hosted-ft":
        raise UserError("a provider's tuning has no small version: run its plan itself")
    tried = [methods.find(step.method) for step in plan.steps]
    for method in tried:
        backends.load(method.id).require()
        if method.backend == "prompting":
            _require_endpoint(option, budget_usd)
    trained = any(method.trains != "nothing" for method in tried)
    if trained and option.model is not None and not weights.at_hand(option.model):
        raise UserError(f"the weights of {option.model} are not on this machine")


def _require_endpoint(option: Ranked, budget_usd: float | None) -> None:
    endpoint = doctor.endpoint()
    if endpoint.base_url is None and not endpoint.key_set:
        raise UserError("no endpoint: set OPENAI_BASE_URL and OPENAI_API_KEY")
    if endpoint.reachable is False:
        raise UserError(f"the endpoint {endpoint.says}")
    if option.delivery == "api" and not budget_usd:
        raise UserError("it asks a paid endpoint: say what it may spend with --budget-usd")


def _trial(
    profile: Profile,
    option: Ranked,
    samples: Samples | None,
    seconds: float,
    budget_usd: float | None,
) -> Trial:
    """The largest trial of an option that fits into the time.

    Raises:
        UserError: its data are missing, or even the smallest one takes too long.
    """
    learns = any(methods.find(method).trains != "nothing" for method in option.methods)
    if not learns or samples is None:
        trial = _learning(profile, option, samples, 0, budget_usd)
        if trial.seconds is not None and trial.seconds > seconds:
            raise UserError(f"it would take about {trial.seconds / 60:.0f} minutes; say --minutes")
        return trial
    rows = len(samples.keep)
    while True:
        trial = _learning(profile, option, samples, rows, budget_usd)
        took = trial.seconds
        if took is None or took <= seconds:
            return trial
        if rows <= 2 * FEWEST:
            raise UserError(f"it takes about {took / 60:.0f} minutes on {rows} examples alone")
        rows = max(2 * FEWEST, int(0.9 * rows * seconds / took))


def _learning(
    profile: Profile,
    option: Ranked,
    samples: Samples | None,
    rows: int,
    budget_usd: float | None,
) -> Trial:
    """The trial of an option on so many examples; 0 takes all of them to draw from."""
    name = "-".join((*option.stack, option.delivery))
    if samples is not None:
        train = samples.train(rows or len(samples.keep))
        profile = replace(profile, data=str(train), test_data=str(samples.held))
        name += f"-{rows}" if rows else ""
    plan = planning.plan(profile, option)
    plan = replace(
        plan,
        name=name,
        budget_usd=budget_usd,
        steps=tuple(_small(step, profile) for step in plan.steps),
    )
    name += f"-{_mark(plan)}"
    return Trial(name, option.id, option.stack, option.model, plan, rows)


def _mark(plan: Plan) -> str:
    """A few letters that are others where the work is another: its results are kept apart."""
    return sha256(msgspec.json.encode(plans.work(plan), order="deterministic")).hexdigest()[:6]


def _small(step: Step, profile: Profile) -> Step:
    """The step with the settings that keep a trial small."""
    backend = methods.find(step.method).backend or ""
    return replace(step, settings=step.settings | _SMALL.get(backend, _nothing)(profile))


def _nothing(profile: Profile) -> dict[str, Any]:
    return {}


def _questions(profile: Profile) -> dict[str, Any]:
    return {} if profile.questions else {"made_questions": MADE_QUESTIONS}


def _few(profile: Profile) -> dict[str, Any]:
    return {"limit": ASKED}


_SMALL: dict[str, Callable[[Profile], dict[str, Any]]] = {"rag": _questions, "prompting": _few}
