"""From a profile and a recommended option to a complete plan, with the predicted figures.

Whatever needs an estimate is solved here and written into the plan; a backend runs it literally.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from advisor import calibration, doctor
from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.job import settled
from advisor.options import ENCODER_EPOCHS, part_to_train
from advisor.profile import Profile
from advisor.recommendation.records import Ranked, Recommendation
from backends import data as reading
from backends.base import Data, Plan, Predicted, Step
from knowledge import methods, prices
from knowledge.errors import UserError, unknown
from knowledge.quantities import HOUR, Range

ENCODER = "all-minilm-l6-v2"  # what is tuned or embeds where nothing else is named
TOKENS_PER_WORD = 1.4  # English in a WordPiece vocabulary
PASSAGE = 220  # tokens of one passage, the default of the rag backend
MICRO_BATCH, LONGEST = 32, 256
READS_TEXT = ("cpt", "scratch")  # approaches that learn from plain text
SURVIVAL = (
    "Of raw web text about one document in nine may survive curation "
    "(https://arxiv.org/abs/2306.01116): size the model by the tokens that its report counts."
)
ANSWERS = "tune"  # the step that makes a model which answers
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
        step = _MAKERS.get(row.backend or "", _other)(profile, option, row)
        if row.approach in READS_TEXT and profile.corpus is not None:
            if not steps:
                steps.append(_curator(profile))
                why.append(SURVIVAL)
            step = _on_curated(step, steps[0])
        if row.id == "rag" and any(earlier.name == ANSWERS for earlier in steps):
            step = replace(step, settings={"generator": f"step:{ANSWERS}"})
            why.append("The tuned model writes the answers, from the passages that are found.")
        steps.append(step)
    return Plan(
        name=_name(profile, option),
        steps=tuple(steps),
        budget_usd=profile.train_budget_usd,
        prices_as_of=_prices_as_of(option),
        why=tuple(why),
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
    data = Data(train=train, test=profile.test_data)
    tags = isinstance(reading.read(train).rows[0], reading.Tagged)
    expected = _expected(job, option, None if tags else "accuracy")
    name = "extract" if tags else "classify"
    return Step(name, row.id, model, data=data, settings=settings, predicted=expected)


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
    if isinstance(reading.read(train).rows[0], reading.Labelled | reading.Tagged):
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
    data = Data(train=train, test=profile.test_data)
    expected = _expected(job, option, None)
    return Step(ANSWERS, row.id, option.model, data=data, settings=settings, predicted=expected)


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


def _curator(profile: Profile) -> Step:
    """A step that makes the user's raw text a corpus; sequences that are no language keep all
    that was made for language switched off.
    """
    corpus = _needed(profile, "corpus", "a folder of text")
    data = Data(corpus=corpus, test=profile.test_data)
    settings: dict[str, Any] = {}
    if profile.domain_distance == "non-text" or profile.task_type == "predict-sequence":
        settings = {"repair": False, "filters": [], "personal": "keep", "duplicates": "exact"}
        settings |= {"abuse_per_1000_words": None}
    return Step("curate", "curate", data=data, settings=settings)


def _on_curated(step: Step, curate: Step) -> Step:
    """The step, reading what the curation made."""
    if curate.method != "curate":
        return step
    data = replace(step.data, train=f"step:{curate.name}", corpus=None)
    return replace(step, data=data)


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
    asked = settled({**keys, "gpu": where, "n_gpus": 1})
    plain, estimated = estimate(asked), estimate(asked, calibration.own())
    before, memory, seconds = plain.memory_gib, estimated.memory_gib, _seconds(estimated)
    return Predicted(
        memory_gib=_short(memory.card) if memory is not None else None,
        allocated_gib=_short(memory.allocated) if memory is not None and where != "cpu" else None,
        seconds=_short(seconds),
        device=where,
        memory_times=_times(before.card if before else None, memory.card if memory else None),
        seconds_times=_times(_seconds(plain), seconds),
        quality=option.quality if metric else None,
        quality_metric=metric if option.quality else None,
    )


def _times(plain: Range | None, corrected: Range | None) -> float:
    """What the user's own runs multiplied a figure with, at three digits."""
    return float(f"{corrected.mid / plain.mid:.3g}") if plain and corrected else 1.0


def _short(range_: Range | None) -> Range | None:
    """The range at three digits: a plan is read by people."""
    if range_ is None:
        return None
    return Range(*(float(f"{bound:.3g}") for bound in (range_.low, range_.mid, range_.high)))


def _seconds(estimated: Estimate) -> Range | None:
    hours = estimated.time.wall_hours if estimated.time is not None else None
    return None if hours is None else hours.scaled(HOUR)
