"""The calls of the `finetune` backend (`backends.base.Backend` says what each does)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from transformers import AutoConfig

from backends import weights
from backends.base import Context, Data, Metric, Pace, Prediction, Step, StepResult
from backends.data import Row
from backends.finetune import (
    Settings,
    classification,
    classifiers,
    contrastive,
    delivering,
    distilled,
    encoders,
    extraction,
    generation,
    generators,
    pushing,
    taggers,
    tasks,
    tuned,
)
from knowledge.errors import UserError

CLASSIFIER_EPOCHS, ANSWER_EPOCHS = 4.0, 3.0  # of a model's own weights, where nobody says


def check(step: Step, settings: Settings, context: Context) -> None:
    """Refuse what could not be run, before anything is written."""
    pushing.check(settings)
    if distilled.waits(step, settings, context):
        classification.refuse_missing(step)
        return
    step = distilled.resolved(step, settings, context)
    kind = tasks.kind(step)
    if kind == tasks.CLASSIFY:
        settings = _whole(step, settings)
        delivering.refuse(settings, whole=settings.train in ("last-k", "all"))
        classification.check(step, settings, context)
    elif kind == tasks.TAG:
        _refuse_contrast(settings)
        extraction.check(step, _whole(step, settings), context)
    else:
        _refuse_part(step, settings)
        generation.check(step, settings, context)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train as the settings say and write `model/`."""
    step = distilled.resolved(step, settings, context)
    found = delivering.delivered(step, settings, context, _tuned(step, settings, context))
    return pushing.pushed(settings, context, found)


def _tuned(step: Step, settings: Settings, context: Context) -> StepResult:
    kind = tasks.kind(step)
    if kind == tasks.TAG:
        settings = _whole(step, settings)
        return extraction.run(step, settings, context, how(settings), "model", taggers.load)
    if kind == tasks.ANSWER:
        way = how(msgspec.structs.replace(settings, train="all"))._replace(
            # Five to ten times below LoRA's, as usual for whole decoders
            # (https://arxiv.org/abs/2203.02155, appendix C; https://arxiv.org/abs/2305.14314).
            learning_rate=2e-5,
            epochs=ANSWER_EPOCHS,
        )
        return generation.run(step, settings, context, way, "model", generators.load)
    settings = _whole(step, settings)
    if settings.train == "head":
        return classification.run_head(step, settings, context)
    if settings.train == "contrastive":
        return classification.run_contrastive(step, settings, context)
    return classification.run_tuned(
        step, settings, context, how(settings), "model", classifiers.load
    )


def pace(step: Step, settings: Settings, row: Row, count: int) -> Pace:
    """How a step goes over so many rows; for a classifier's head a frozen encoder reads once."""
    kind = tasks.taught(row)
    part = _whole(step, settings).train
    if kind == tasks.CLASSIFY and part == "contrastive":
        return contrastive.pace(settings, count)
    if kind == tasks.CLASSIFY and part == "head":
        return Pace(1.0, settings.micro_batch)
    own = ANSWER_EPOCHS if kind == tasks.ANSWER else CLASSIFIER_EPOCHS
    return Pace(tuned.passes(settings, own, count), settings.micro_batch)


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """The label of each text, what is found in it, or the answer to it, in order."""
    kind = _task(folder / "model")
    if kind == tasks.CLASSIFY:
        return classifiers.load(folder / "model").predictions(texts)
    if kind == tasks.TAG:
        return taggers.load(folder / "model").predictions(texts)
    return generators.load(folder / "model").predictions(texts)


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """Accuracy, macro-F1 and calibration on other data, F1 of spans, or loss and right answers."""
    kind = _task(folder / "model")
    if kind == tasks.CLASSIFY:
        return classification.score(classifiers.load(folder / "model"), data)
    if kind == tasks.TAG:
        return extraction.score(taggers.load(folder / "model"), data)
    return generation.score(generators.load(folder / "model"), data)


def how(settings: Settings) -> tuned.How:
    """The method that the settings describe."""

    def prepare(base: tuned.Base) -> Any:
        if settings.train == "last-k":
            _freeze_but_last(base, settings.last_k)
        if settings.train == "head":  # of a tagger; that of a classifier is fitted, not trained
            _freeze_but_new(base)
        return base.model

    # Measured on banking77 with MiniLM (22.7M): higher than the 2e-5 to 5e-5 usual for BERT-base
    # (https://arxiv.org/abs/1810.04805, appendix A.3), as small encoders ask for.
    return tuned.How(
        prepare=prepare,
        save=_save,
        learning_rate=2e-4,
        head_learning_rate=1e-3,
        epochs=CLASSIFIER_EPOCHS,
    )


def _whole(step: Step, settings: Settings) -> Settings:
    """`full-ft` trains everything, whatever `head-ft` would by default."""
    if step.method != "full-ft":
        return settings
    return msgspec.structs.replace(settings, train="all")


def _refuse_part(step: Step, settings: Settings) -> None:
    if step.method != "full-ft":
        raise UserError(
            f"step {step.name!r}: head-ft needs texts with labels and the data hold "
            "conversations; use full-ft, lora or another method of 'advisor catalog methods'"
        )


def _refuse_contrast(settings: Settings) -> None:
    if settings.train == "contrastive":
        raise UserError(
            "train: contrastive draws whole texts together and the data hold spans; "
            "use train: head, last-k or all"
        )


def _task(folder: Path) -> str:
    """What the model in a folder does, as `backends.finetune.tasks` names it."""
    weights.refuse_unfinished(folder)
    if (folder / encoders.HEAD).is_dir():
        return tasks.CLASSIFY
    kinds = AutoConfig.from_pretrained(folder).architectures or [""]
    if str(kinds[0]).endswith("ForTokenClassification"):
        return tasks.TAG
    classifies = str(kinds[0]).endswith("ForSequenceClassification")
    return tasks.CLASSIFY if classifies else tasks.ANSWER


def _freeze_but_last(base: tuned.Base, count: int) -> None:
    layers = tuned.blocks(base.model)
    if count >= len(layers):
        raise UserError(
            f"last_k: {count} of a model with {len(layers)} layers; "
            f"set it below {len(layers)} or use train: all"
        )
    _freeze_but_new(base)
    for layer in list(layers)[-count:]:
        layer.requires_grad_(True)


def _freeze_but_new(base: tuned.Base) -> None:
    base.model.requires_grad_(False)
    for name, parameter in base.model.named_parameters():
        if name in base.new:
            parameter.requires_grad_(True)


def _save(model: Any, base: tuned.Base, folder: Path) -> None:
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
