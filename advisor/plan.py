"""From a profile and a recommended option to a complete plan, with the predicted figures.

Whatever needs an estimate is solved here and written into the plan; a backend runs it literally.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from advisor.estimates.records import Estimate
from advisor.placing import CPU
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Recommendation
from advisor.steps import ANSWERS
from advisor.steps.aligning import aligner, following
from advisor.steps.asking import prompter
from advisor.steps.predicted import plain
from advisor.steps.texts import READS_TEXT, SURVIVAL, curator, on_curated, pretrainer, retriever
from advisor.steps.tuning import published, tuner
from backends import plans
from backends.base import Plan, Step
from knowledge import methods
from knowledge.errors import UserError, unknown

MAKERS: dict[str, Callable[[Profile, Ranked, methods.Method], Step]] = {
    "finetune": tuner,
    "peft": tuner,
    "rag": retriever,
    "prompting": prompter,
    "scratch": pretrainer,
    "alignment": aligner,
}


def chosen(recommendation: Recommendation, wanted: str | None) -> Ranked:
    """The option of that id, or the first.

    Raises:
        UserError: there is none, or no option has that id.
    """
    if not recommendation.options:
        raise UserError(f"nothing to plan: {recommendation.says}")
    if wanted is None:
        return recommendation.options[0]
    options = {option.id: option for option in recommendation.options}
    if wanted not in options:
        raise unknown("option", wanted, options)
    return options[wanted]


def plan(profile: Profile, option: Ranked, *, here: bool = False) -> Plan:
    """The plan of an option: its methods as steps, on the user's data.

    Args:
        here: for this machine, whatever hardware the option names.

    Raises:
        UserError: the data that a step needs is not in the profile.
    """
    if here and option.delivery == "self-hosted":
        option = replace(option, hardware=CPU)
    steps: list[Step] = []
    why = [reason.says for reason in option.reasons[:5]]
    for method in option.methods:
        row = methods.find(method)
        if row.id == "prompt" and any(step.method == "rag" for step in steps):
            why.append("Answers are cited passages; writing them out with a model comes on top.")
            continue
        step = MAKERS.get(row.backend or "", plain)(profile, option, row)
        if row.approach in READS_TEXT and profile.corpus is not None:
            if not steps:
                steps.append(curator(profile))
                why.append(SURVIVAL)
            step = on_curated(step, steps[0])
        if row.id == "rag" and any(earlier.name == ANSWERS for earlier in steps):
            step = replace(step, settings={"generator": f"step:{ANSWERS}"})
            why.append("The tuned model writes the answers, from the passages that are found.")
        if row.backend == "alignment":
            steps, step = following(steps, step)
        steps.append(step)
    why += [line for step in steps for line in _grounds(step, option)]
    return Plan(
        name=_name(profile, option),
        steps=tuple(plans.marked(step) for step in steps),
        budget_usd=profile.train_budget_usd,
        prices_as_of=_prices_as_of(option),
        why=tuple(why),
    )


def _grounds(step: Step, option: Ranked) -> Iterator[str]:
    """Where a step's settings are from."""
    start = published(step.method, step.model)
    if start is not None and step.settings.get("learning_rate") == start.learning_rate:
        yield f"{step.name}: {start.says} ({start.source})."
    if "accumulation" in step.settings:
        size, steps = step.settings["micro_batch"], step.settings["accumulation"]
        yield (
            f"{step.name}: {size} at once, the largest batch whose memory surely fits up to the "
            f"{size * steps} examples of a step ({step.predicted.device})."
        )


def _name(profile: Profile, option: Ranked) -> str:
    words = f"{profile.name or profile.task_type or 'task'}-{'-'.join(option.stack)}"
    return "".join(c if c.isalnum() else "-" for c in words.lower()).strip("-")


def _prices_as_of(option: Ranked) -> str | None:
    return option.estimate.money.prices_as_of if isinstance(option.estimate, Estimate) else None
