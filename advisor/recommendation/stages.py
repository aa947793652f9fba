"""The way in stages: the cheapest that could do first, each with a stop rule and its cost."""

from collections.abc import Sequence
from math import inf
from typing import Any

from advisor.bases import API
from advisor.estimates import estimate
from advisor.job import settled
from advisor.options import TOKENS_IN, TOKENS_OUT
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Stage
from knowledge.errors import UserError
from knowledge.quantities import Range, exactly

HELD_OUT = {"low": 100, "medium": 200, "high": 400}  # evaluation items by cost of an error
WORTH = 0.1  # chance of the first place from which an option is worth a stage
MARGIN = 0.02  # gain over the stage before that is worth keeping


def stages(profile: Profile, options: Sequence[Ranked]) -> tuple[Stage, ...]:
    """Stage 0 is a baseline and an evaluation set; then options by cost up to the first place."""
    held = HELD_OUT[profile.error_cost or "medium"]
    steps = [_baseline(profile, options, held)]
    if not options:
        return tuple(steps)
    chosen = options[0]
    cheaper = [
        option
        for option in options[1:]
        if option.stack[0] != "prompt"
        and option.stack != chosen.stack
        and option.probability >= WORTH
        and _mid(option) < _mid(chosen) < inf
    ]
    for option in (*sorted(cheaper, key=_mid)[:1], chosen):
        if option.stack == ("prompt",):
            continue
        name = " + ".join(option.stack)
        model = f" on {option.model}" if option.model else ""
        steps.append(
            Stage(
                do=f"Build {name}{model} ({option.hardware}) and measure it on the same items.",
                stop_if=f"{_target(profile)}, or it gains less than {MARGIN:.0%} over the stage "
                "before.",
                usd=_usd(option.estimate),
                option=option.id,
            )
        )
    return tuple(steps)


def _baseline(profile: Profile, options: Sequence[Ranked], held: int) -> Stage:
    if profile.task_type == "predict-sequence":
        return Stage(
            do=f"Set {held} examples aside and measure the most frequent answer and a linear "
            "model on them.",
            stop_if=f"{_target(profile)}.",
            usd=exactly(0.0),
        )
    hosted = profile.privacy not in ("on-prem", "on-device")
    own = next((o for o in options if {"prompt", "rag"} & set(o.stack)), None)
    model = API if hosted else own.model if own else None
    ready = next((o for o in options if o.stack == ("prompt",)), None)
    tools = f"prompt {model or 'an open model'} without and with examples"
    return Stage(
        do=f"Set {held} examples aside with their right answers, {tools}, and sort its errors.",
        stop_if=f"{_target(profile)}: prompting is enough.",
        usd=_asking(profile, held) if hosted else exactly(0.0),
        option=None if ready is None else ready.id,
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


def _usd(figures: Any) -> Range | None:
    return None if figures is None else figures.money.usd


def _mid(option: Ranked) -> float:
    usd = _usd(option.estimate)
    return inf if usd is None else usd.mid
