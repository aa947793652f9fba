"""From a profile and a recommended option to a complete plan, with the predicted figures.

Whatever needs an estimate is solved here and written into the plan; a backend runs it literally.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from advisor import batches, doctor
from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.job import settled
from advisor.options import ENCODER_EPOCHS, EPOCHS, part_to_train
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Recommendation
from backends import data as reading
from backends.base import Data, Plan, Predicted, Step
from knowledge import methods, prices
from knowledge.errors import UserError, unknown
from knowledge.hyperparameters import Hyperparameters
from knowledge.quantities import HOUR, Range

ENCODER = "all-minilm-l6-v2"  # what is tuned or embeds where nothing else is named
TOKENS_PER_WORD = 1.4  # English in a WordPiece vocabulary
PASSAGE = 220  # tokens of one passage, the default of the rag backend
MICRO_BATCH, LONGEST = 32, 256
EXAMPLES_A_STEP = 16  # where nothing is published for the method
SHOTS, HELD_OUT = 8, 200  # examples in a message; items asked for a first figure


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


def plan(profile: Profile, option: Ranked) -> Plan:
    """The plan of an option: its methods as steps, on the user's data.

    Raises:
        UserError: the data that a step needs is not in the profile.
    """
    steps: list[Step] = []
    why = [reason.says for reason in option.reasons[:5]]
    for method in option.methods:
        row = methods.find(method)
        if row.id == "prompt" and any(step.method == "rag" for step in steps):
            why.append("Answers are cited passages; writing them out with a model comes on top.")
            continue
        steps.append(_MAKERS.get(row.backend or "", _other)(profile, option, row))
    why += [line for step in steps for line in _grounds(step, option)]
    return Plan(
        name=_name(profile, option),
        steps=tuple(steps),
        budget_usd=profile.train_budget_usd,
        prices_as_of=_prices_as_of(option),
        why=tuple(why),
    )


def _grounds(step: Step, option: Ranked) -> Iterator[str]:
    """Where a step's settings are from."""
    start = batches.published(step.method, step.model)
    if start is not None and step.settings.get("learning_rate") == start.learning_rate:
        yield f"{step.name}: {start.says} ({start.source})."
    if "accumulation" in step.settings:
        size, steps = step.settings["micro_batch"], step.settings["accumulation"]
        yield (
            f"{step.name}: {size} at once, the largest batch whose memory surely fits up to the "
            f"{size * steps} examples of a step ({option.hardware})."
        )


def _name(profile: Profile, option: Ranked) -> str:
    words = f"{profile.name or profile.task_type or 'task'}-{'-'.join(option.stack)}"
    return "".join(c if c.isalnum() else "-" for c in words.lower()).strip("-")


def _prices_as_of(option: Ranked) -> str | None:
    return option.estimate.money.prices_as_of if isinstance(option.estimate, Estimate) else None


def _needed(profile: Profile, key: str, what: str) -> str:
    value = getattr(profile, key)
    if value is None:
        raise UserError(f"the plan needs {what}; set {key!r} in the profile (a path)")
    return str(value)


def _classifier(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes an encoder on labelled texts."""
    train = _needed(profile, "data", "a file of labelled examples")
    facts = reading.report(reading.read(train))
    longest = round(facts.words.p99 * TOKENS_PER_WORD) + 8
    settings: dict[str, Any] = {"max_length": min(LONGEST, 8 * -(-longest // 8))}
    passes = ENCODER_EPOCHS
    if row.trains == "head":
        settings |= {"train": part_to_train(facts.rows)}
    added, sizes = _sizes(row)
    settings |= added
    if settings.get("train") == "head":
        passes = 1.0
    else:
        settings |= {"epochs": ENCODER_EPOCHS, "micro_batch": MICRO_BATCH}
    model = option.model or ENCODER
    start = batches.published(row.id, model) if settings.get("train") != "head" else None
    if start is not None:
        settings |= _published(start)
        passes = start.epochs
    job = {
        "model": model,
        "method": row.id,
        "train": settings.get("train"),
        "classes": max(2, len(facts.labels)),
        **sizes,
        "micro_batch": MICRO_BATCH,
        "seq_len": settings["max_length"],
        "seq_len_is": "cap",
        "examples": facts.rows,
        "tokens_per_example": facts.words.mean * TOKENS_PER_WORD + 2,
        "epochs": passes,
    }
    if settings.get("train") != "head":
        _deal(settings, job, start.examples_a_step if start else MICRO_BATCH, option)
    data = Data(train=train, test=profile.test_data)
    expected = _expected(job, option, "accuracy")
    return Step("classify", row.id, model, data=data, settings=settings, predicted=expected)


def _sizes(row: methods.Method) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sizes of what a method adds: as settings of its step, and as keys of a job."""
    settings: dict[str, Any] = {}
    job: dict[str, Any] = {}
    keys = {"rank": "lora_rank", "width": "adapter_width", "tokens": "virtual_tokens"}
    for size, key in keys.items():
        if size in row.defaults:
            settings[size] = job[key] = int(row.defaults[size])
    if "rank" in row.defaults:
        settings["targets"] = job["lora_targets"] = "all-linear"
    return settings, job


def _tuner(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes a model on what the data hold: labels, or answers."""
    train = _needed(profile, "data", "a file of labelled examples or of prompts with answers")
    if option.delivery == "hosted-ft":
        return _hosted_tuner(profile, option)
    if isinstance(reading.read(train).rows[0], reading.Labelled):
        return _classifier(profile, option, row)
    return _answerer(profile, option, row)


def _answerer(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes a model on prompts with answers, or conversations."""
    train = str(profile.data)
    rows = reading.read(train).rows
    words = sorted(
        len(f"{reading.input_text(one)} {reading.target_text(one) or ''}".split()) for one in rows
    )
    longest = round(words[int(0.99 * (len(words) - 1))] * TOKENS_PER_WORD) + 32  # and the template
    added, sizes = _sizes(row)
    settings = {"max_length": min(4 * LONGEST, 8 * -(-longest // 8)), "micro_batch": 4, **added}
    settings |= {"accumulation": 4, "epochs": 3.0}
    start = batches.published(row.id, option.model)
    if start is not None:
        settings |= _published(start)
    job = {
        "model": option.model,
        "method": row.id,
        **sizes,
        "micro_batch": settings["micro_batch"],
        "gradient_accumulation": settings["accumulation"],
        "seq_len": settings["max_length"],
        "packing": True,
        "examples": len(rows),
        "tokens_per_example": sum(words) / len(words) * TOKENS_PER_WORD + 32,
        "epochs": settings["epochs"],
    }
    _deal(settings, job, start.examples_a_step if start else EXAMPLES_A_STEP, option)
    data = Data(train=train, test=profile.test_data)
    expected = _expected(job, option, None)
    return Step("tune", row.id, option.model, data=data, settings=settings, predicted=expected)


def _published(start: Hyperparameters) -> dict[str, Any]:
    """Published settings under the names of a step's."""
    keys = ("learning_rate", "epochs", "warmup", "schedule")
    return {key: getattr(start, key) for key in keys}


def _deal(
    settings: dict[str, Any], job: dict[str, Any], examples_a_step: int, option: Ranked
) -> None:
    """Set the largest batch that surely fits, in a step's settings and in its job."""
    found = batches.dealt(job, examples_a_step, option.hardware)
    if found is None:
        return  # the estimate says by itself that it does not fit
    settings |= {"micro_batch": found.micro_batch, "accumulation": found.accumulation}
    job |= {"micro_batch": found.micro_batch, "gradient_accumulation": found.accumulation}


def _retriever(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that indexes the user's documents."""
    corpus = _needed(profile, "corpus", "a folder of documents")
    found, _ = reading.documents(corpus)
    tokens = sum(len(document.text.split()) for document in found) * TOKENS_PER_WORD
    job = {
        "model": ENCODER,
        "method": row.id,
        "corpus_tokens": tokens,
        "passage_tokens": min(PASSAGE, max(1.0, tokens / len(found))),
        "requests": 0,
    }
    data = Data(corpus=corpus, questions=profile.questions)
    return Step("retrieve", row.id, ENCODER, data=data, predicted=_expected(job, option, None))


def _prompter(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that asks a model behind an endpoint about held-out examples."""
    data = Data(
        train=_needed(profile, "data", "a file of examples to measure on"), test=profile.test_data
    )
    settings: dict[str, Any] = {"shots": SHOTS, "limit": HELD_OUT}
    if profile.task_type is not None:
        settings["task"] = profile.task_type
    if option.delivery == "self-hosted":  # a server of the user's own asks for no money
        settings |= {"usd_per_1m_input": 0.0, "usd_per_1m_output": 0.0}
    else:
        price = prices.find_api(option.model or "")
        if price.priced:
            settings |= {"usd_per_1m_input": price.input, "usd_per_1m_output": price.output}
    return Step("prompt", row.id, option.model, data=data, settings=settings)


def _hosted_tuner(profile: Profile, option: Ranked) -> Step:
    """A step in which the provider tunes its model, and the tuned one is asked."""
    step = _prompter(profile, option, methods.find("prompt"))
    price = prices.find_api(option.model or "")
    tuning = {"epochs": round(EPOCHS), "usd_per_1m_training": price.train}
    settings = step.settings | {"shots": 0, "tuning": tuning}
    known = isinstance(option.estimate, Estimate)
    usd = option.estimate.money.once if known else None
    predicted = Predicted(seconds=_seconds(option.estimate) if known else None, usd=_short(usd))
    base = (option.model or "").removeprefix("ft:")
    return replace(step, name="hosted", model=base, settings=settings, predicted=predicted)


def _other(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that nothing here executes yet: complete for the reader, refused by `run`."""
    estimated = option.estimate
    known = isinstance(estimated, Estimate)
    predicted = Predicted(
        memory_gib=estimated.memory_gib.card if known and estimated.memory_gib else None,
        seconds=_seconds(estimated) if known else None,
        usd=estimated.money.usd if known else None,
    )
    data = Data(train=profile.data, test=profile.test_data, corpus=profile.corpus)
    return Step(row.id, row.id, option.model, data=data, predicted=predicted)


_MAKERS: dict[str, Callable[[Profile, Ranked, methods.Method], Step]] = {
    "finetune": _tuner,
    "peft": _tuner,
    "rag": _retriever,
    "prompting": _prompter,
}


def _expected(job: dict[str, Any], option: Ranked, metric: str | None) -> Predicted:
    """What a job takes on this machine, and the quality that the recommendation expects."""
    machine = doctor.machine()
    where = next((card.id for card in machine.cards if card.id is not None), "cpu")
    keys = {key: value for key, value in job.items() if value is not None}
    if where == "cpu":
        keys["cpu_cores"] = machine.cores
    estimated = estimate(settled({**keys, "gpu": where, "n_gpus": 1}))
    return Predicted(
        memory_gib=_short(estimated.memory_gib.card) if estimated.memory_gib is not None else None,
        seconds=_short(_seconds(estimated)),
        quality=option.quality if metric else None,
        quality_metric=metric if option.quality else None,
    )


def _short(range_: Range | None) -> Range | None:
    """The range at three digits: a plan is read by people."""
    if range_ is None:
        return None
    return Range(*(float(f"{bound:.3g}") for bound in (range_.low, range_.mid, range_.high)))


def _seconds(estimated: Estimate) -> Range | None:
    hours = estimated.time.wall_hours if estimated.time is not None else None
    return None if hours is None else hours.scaled(HOUR)
