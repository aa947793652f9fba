"""The way in stages: the cheapest that could do first, each with a stop rule and its cost."""

import shlex
from collections.abc import Sequence
from math import inf
from pathlib import Path

from msgspec.structs import replace

from advisor.bases import API
from advisor.estimates import estimate
from advisor.job import settled
from advisor.options import TOKENS_IN, TOKENS_OUT
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Recommendation, Stage
from knowledge.errors import UserError
from knowledge.quantities import Range, exactly

HELD_OUT = {"low": 100, "medium": 200, "high": 400}  # evaluation items by cost of an error
WORTH = 0.1  # chance of the first place from which an option is worth a stage
PROFILE = "PROFILE"  # in commands: the file of the profile
MARGIN = 0.02  # gain over the stage before that is worth keeping


def stages(profile: Profile, options: Sequence[Ranked]) -> tuple[Stage, ...]:
    """Stage 0 is a baseline and an evaluation set; then what could reach the target, by cost.

    Stage 1 is the cheapest that could reach it, then comes the first place where that is another,
    then the next better one.
    """
    held = HELD_OUT[profile.error_cost or "medium"]
    steps = [_baseline(profile, options, held)]
    for option in _ladder(profile, options):
        if option.stack == ("prompt",):
            continue  # that is stage 0
        name = " + ".join(option.stack)
        model = f" on {option.model}" if option.model else ""
        usd = _once(option)
        steps.append(
            Stage(
                do=f"Build {name}{model} ({option.hardware}) and measure it on the same items.",
                stop_if=f"{_target(profile)}, or it gains less than {MARGIN:.0%} over the stage "
                "before.",
                usd=usd,
                option=option.id,
                budget_usd=_budget(profile, usd),
                command=_command(option.id, len(steps)),
            )
        )
    return tuple(steps)


def naming(advice: Recommendation, file: Path) -> Recommendation:
    """The recommendation with the profile's own file in its commands."""
    named = shlex.quote(str(file))
    steps = tuple(
        replace(stage, command=stage.command.replace(PROFILE, named)) for stage in advice.stages
    )
    return replace(advice, stages=steps)


def _ladder(profile: Profile, options: Sequence[Ranked]) -> list[Ranked]:
    if not options:
        return []
    chosen = options[0]
    able = [o for o in options[1:] if o.stack != chosen.stack and _could_reach(o, profile)]
    cheaper = [o for o in able if o.probability >= WORTH and _mid(o) < _mid(chosen) < inf]
    better = [o for o in able if _quality(o) > _quality(chosen) and o not in cheaper]
    return [*sorted(cheaper, key=_mid)[:1], chosen, *sorted(better, key=_mid)[:1]]


def _could_reach(option: Ranked, profile: Profile) -> bool:
    """Whether the target lies within what to expect; what is unknown may."""
    if option.quality is None or profile.target_quality is None:
        return True
    return option.quality.high >= profile.target_quality


def _quality(option: Ranked) -> float:
    return 0.0 if option.quality is None else option.quality.mid


def _command(option: str, number: int) -> str:
    plan = f"stage-{number}.yaml"
    return (
        f"advisor plan {PROFILE} --option {option} --out {plan} && "
        f"advisor run {plan} --out runs/stage-{number}"
    )


def _budget(profile: Profile, usd: Range | None) -> float | None:
    """What to stop at: the high end of the estimate, never more than there is."""
    most = profile.train_budget_usd
    if usd is None:
        return most
    high = float(f"{usd.high:.2g}")
    return high if most is None else min(high, most)


def _baseline(profile: Profile, options: Sequence[Ranked], held: int) -> Stage:
    if profile.task_type == "predict-sequence":
        return Stage(
            do=f"Set {held} examples aside and measure the most frequent answer and a linear "
            "model on them.",
            stop_if=f"{_target(profile)}.",
            usd=exactly(0.0),
            budget_usd=0.0,
            command=f"advisor pilot {PROFILE}",
        )
    hosted = profile.privacy not in ("on-prem", "on-device")
    own = next((o for o in options if {"prompt", "rag"} & set(o.stack)), None)
    model = API if hosted else own.model if own else None
    ready = next((o for o in options if o.stack == ("prompt",)), None)
    tools = f"prompt {model or 'an open model'} without and with examples"
    usd = _asking(profile, held) if hosted else exactly(0.0)
    return Stage(
        do=f"Set {held} examples aside with their right answers, {tools}, and sort its errors.",
        stop_if=f"{_target(profile)}: prompting is enough.",
        usd=usd,
        option=None if ready is None else ready.id,
        budget_usd=None if usd is None else round(2 * usd.high, 2),
        command=f"advisor pilot {PROFILE}" if ready is None else _command(ready.id, 0),
    )


def _asking(profile: Profile, held: int) -> Range | None:
    """What asking a hosted model twice over the held-out items costs [USD]."""
    job = {
        "model": API,
        "method": "prompt",
        "requests": 2 * held,
        "tokens_in": 3 * (profile.tokens_in or TOKENS_IN),
        "tokens_out": profile.tokens_out or TOKENS_OUT,
    }
    try:
        return estimate(settled(job)).money.usd
    except UserError:
        return None


def _target(profile: Profile) -> str:
    if profile.target_quality is None:
        return "It is as good as you need"
    return f"The lower end of its interval reaches {profile.target_quality:.0%}"


def _once(option: Ranked) -> Range | None:
    """What building an option costs [USD], without the requests after it."""
    if option.estimate is None or option.estimate.money.usd is None:
        return None
    return option.estimate.money.once or exactly(0.0)


def _mid(option: Ranked) -> float:
    """The cost of an option over the horizon [USD]."""
    usd = None if option.estimate is None else option.estimate.money.usd
    return inf if usd is None else float(usd.mid)
