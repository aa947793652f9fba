"""Steps that tune a model on labels or answers."""

from typing import Any

from msgspec.structs import replace

from advisor.bases import has_gpus
from advisor.batching import batching
from advisor.estimates.records import Estimate
from advisor.options import ENCODER_EPOCHS, EPOCHS, part_to_train
from advisor.placing import device
from advisor.profile import Profile
from advisor.recommendation.records import Ranked
from advisor.steps import ANSWERS, ENCODER, LONGEST, TOKENS_PER_WORD, needed
from advisor.steps.asking import prompter
from advisor.steps.predicted import expected, seconds_of, short
from backends import base
from backends import data as reading
from backends.base import Data, Predicted, Step
from knowledge import hyperparameters, methods, models, prices
from knowledge.errors import UserError
from knowledge.hyperparameters import Hyperparameters

LABELS_A_STEP, ANSWERS_A_STEP = 32, 16  # where nothing is published for the method


def tuner(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes a model on what the data hold: labels, or answers."""
    train = needed(profile, "data", "a file of labelled examples or of prompts with answers")
    if option.delivery == "hosted-ft":
        return _hosted_tuner(profile, option)
    if isinstance(reading.read(train).rows[0], reading.Labelled | reading.Tagged):
        return _classifier(profile, option, row)
    return _answerer(profile, option, row)


def _classifier(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes an encoder on labelled texts."""
    train = needed(profile, "data", "a file of labelled examples")
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
        settings |= {"epochs": ENCODER_EPOCHS}
    model = option.model or ENCODER
    start = published(row.id, model) if settings.get("train") != "head" else None
    if start is not None:
        settings |= _published(start)
        passes = start.epochs
    job = {
        "model": model,
        "method": row.id,
        "train": settings.get("train"),
        "classes": max(2, len(facts.labels)),
        **sizes,
        "seq_len": settings["max_length"],
        "seq_len_is": "cap",
        "examples": facts.rows,
        "tokens_per_example": facts.words.mean * TOKENS_PER_WORD + 2,
        "epochs": passes,
    }
    where = device(job, option.hardware, owned=has_gpus(profile))
    if settings.get("train") == "head":
        where = where._replace(bf16=False)  # fitting the head takes what it saves in reading
    job |= where.job()
    if settings.get("train") != "head":
        seen = batching(job, start.examples_a_step if start else LABELS_A_STEP, where.gib)
        settings |= seen.settings()
        job |= seen.job()
    data = Data(train=train, test=profile.test_data)
    tags = isinstance(reading.read(train).rows[0], reading.Tagged)
    foretold = expected(job, option, None if tags else "accuracy")
    name = "extract" if tags else "classify"
    return Step(name, row.id, model, data=data, settings=settings, predicted=foretold)


def _answerer(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that tunes a model on prompts with answers, or conversations."""
    train = str(profile.data)
    rows = reading.read(train).rows
    words = sorted(
        len(f"{reading.input_text(one)} {reading.target_text(one) or ''}".split()) for one in rows
    )
    longest = round(words[int(0.99 * (len(words) - 1))] * TOKENS_PER_WORD) + 32  # and the template
    added, sizes = _sizes(row)
    settings = {"max_length": min(4 * LONGEST, 8 * -(-longest // 8)), **added, "epochs": EPOCHS}
    start = published(row.id, option.model)
    if start is not None:
        settings |= _published(start)
    job = {
        "model": option.model,
        "method": row.id,
        **sizes,
        "seq_len": settings["max_length"],
        "packing": True,
        "examples": len(rows),
        "tokens_per_example": sum(words) / len(words) * TOKENS_PER_WORD + 32,
        "epochs": settings["epochs"],
    }
    where = device(job, option.hardware, owned=has_gpus(profile))
    job |= where.job()
    seen = batching(job, start.examples_a_step if start else ANSWERS_A_STEP, where.gib)
    settings |= seen.settings()
    job |= seen.job()
    data = Data(train=train, test=profile.test_data)
    foretold = expected(job, option, None)
    return Step(ANSWERS, row.id, option.model, data=data, settings=settings, predicted=foretold)


def _hosted_tuner(profile: Profile, option: Ranked) -> Step:
    """A step in which the provider tunes its model, and the tuned one is asked."""
    step = prompter(profile, option, methods.find("prompt"))
    price = prices.find_api(option.model or "")
    tuning = {"epochs": round(EPOCHS), "usd_per_1m_training": price.train}
    settings = step.settings | {"shots": 0, "tuning": tuning}
    known = isinstance(option.estimate, Estimate)
    usd = option.estimate.money.once if known else None
    predicted = Predicted(seconds=seconds_of(option.estimate) if known else None, usd=short(usd))
    base = (option.model or "").removeprefix("ft:")
    return replace(step, name="hosted", model=base, settings=settings, predicted=predicted)


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
        job["lora_dropout"] = base.load(row.id).settings().dropout  # type: ignore[attr-defined]
    return settings, job


def _published(start: Hyperparameters) -> dict[str, Any]:
    """Published settings under the names of a step's."""
    keys = ("learning_rate", "epochs", "warmup", "schedule")
    return {key: getattr(start, key) for key in keys}


def published(method: str, model: str | None) -> Hyperparameters | None:
    """The published settings for a method on a catalogue model; None where there are none."""
    if model is None:
        return None
    try:
        row = models.find(model)
    except UserError:  # a folder or a hub id of the user's own
        return None
    return hyperparameters.of(method, row.kind, float(row.architecture().parameters()))
