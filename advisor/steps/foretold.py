"""What tuning steps that somebody wrote by hand will take on this machine."""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from advisor.placing import here
from advisor.steps import LONGEST, TOKENS_PER_WORD
from advisor.steps.predicted import taken
from backends import base, plans
from backends import data as reading
from backends.base import Plan, Predicted, Step
from knowledge import methods
from knowledge.errors import UserError

UNSAID = Predicted()
SHORTEST = 10.0  # seconds; in less, loading and scoring take longer than what is foretold
TEMPLATE = 32  # tokens that the turns of a conversation are marked with


def foretold(plan: Plan, before: Plan | None = None) -> Plan:
    """The plan with an estimate for this machine beside each tuning step that has none.

    Figures of a step that was edited since are no more its own. Steps that learn from what an
    earlier one makes, and whose model is not known, stay unknown.

    Args:
        before: the plan as an interrupted run began it; what it foretold stands.
    """
    told = {step.name: step.predicted for step in before.steps} if before else {}
    steps = []
    for step in plan.steps:
        predicted = step.predicted
        if predicted.mark not in (None, plans.mark(step)):
            predicted = UNSAID
        if predicted == UNSAID:
            predicted = told.get(step.name) or _predicted(step, plan)
        steps.append(plans.marked(replace(step, predicted=predicted)))
    return replace(plan, steps=tuple(steps))


def _predicted(step: Step, plan: Plan) -> Predicted:
    try:
        job = _job(step, plan)
        found = UNSAID if job is None else taken(job)
    except UserError:  # whatever is wrong with the step itself, its backend says it better
        return UNSAID
    if found.seconds is not None and found.seconds.mid < SHORTEST:
        return replace(found, seconds=None, seconds_times=1.0)
    return found


def _job(step: Step, plan: Plan) -> dict[str, Any] | None:
    """The step as keys of a job; None where it cannot be told."""
    row = methods.find(step.method)
    model = _model(step, plan)
    train = step.data.train
    if row.backend not in ("finetune", "peft") or model is None:
        return None
    if train is None or train.startswith("step:"):
        return None
    backend = base.load(step.method)
    settings = backend.settled(step)
    rows = reading.read(train, step.data.shape, step.data.columns).rows
    answers = not isinstance(rows[0], reading.Labelled | reading.Tagged)
    words = sorted(len(_read(one, answers=answers).split()) for one in rows)
    added = TEMPLATE if answers else 2
    length = settings.max_length or LONGEST * (4 if answers else 1)
    longest = min(length, round(words[-1] * TOKENS_PER_WORD) + added)
    examples = len(rows) * (1.0 if step.data.test else 1.0 - settings.test_share)
    examples *= 1.0 - (0.0 if step.data.validation else settings.validation_share or 0.0)
    count = max(1, round(examples))
    pace = backend.pace(step, rows[0], count)
    where = here()
    if settings.precision != "auto":
        where = where._replace(bf16=settings.precision in ("bf16", True))
    elif step.method == "head-ft" and settings.train == "head":
        where = where._replace(bf16=False)  # fitting the head takes what it saves in reading
    job = {
        "model": model,
        "method": "dora" if getattr(settings, "dora", False) else step.method,
        "seq_len": longest,
        "seq_len_is": "cap",
        "tokens_per_example": min(length, sum(words) / len(words) * TOKENS_PER_WORD + added),
        "examples": count,
        "micro_batch": pace.micro_batch,
        "gradient_accumulation": settings.accumulation,
        "optimizer": settings.optimizer,
        "checkpointing": "full" if settings.checkpointing else None,
        **where.job(),
        **dict(_sizes(row, settings)),
    }
    if answers:
        job |= {"packing": settings.packing or None, "seq_len": length}
    else:
        job |= {"classes": max(2, len({getattr(one, "label", "") for one in rows}))}
        if row.id in ("head-ft", "full-ft"):
            part = "all" if row.id == "full-ft" else settings.train
            job |= {"method": "head-ft", "train": "all" if part == "contrastive" else part}
            job |= {"last_k": settings.last_k} if part == "last-k" else {}
    if settings.max_steps is not None:
        batch = pace.micro_batch * settings.accumulation
        return job | {"epochs": settings.max_steps * batch / count}
    return job | {"epochs": pace.epochs}


def _read(row: reading.Row, *, answers: bool) -> str:
    """What is read of a row: its text, and with answers what is learnt to say."""
    text = reading.input_text(row)
    return f"{text} {reading.target_text(row) or ''}" if answers else text


def _model(step: Step, plan: Plan) -> str | None:
    """The model that a step begins with, through the steps before it."""
    model = step.model
    while model is not None and model.startswith("step:"):
        name = model.removeprefix("step:")
        model = next((one.model for one in plan.steps if one.name == name), None)
    return model


def _sizes(row: methods.Method, settings: Any) -> Iterator[tuple[str, Any]]:
    """The sizes of what the method adds, as keys of a job."""
    if "rank" in row.defaults:
        targets = settings.targets
        yield "lora_rank", settings.rank
        yield "lora_targets", targets if isinstance(targets, str) else ",".join(targets)
        yield "lora_dropout", settings.dropout
    if "width" in row.defaults:
        yield "adapter_width", settings.width
    if "tokens" in row.defaults:
        yield "virtual_tokens", settings.tokens
