"""The calls of the `peft` backend (`backends.base.Backend` says what each does)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import AutoConfig

from backends import weights
from backends.base import Context, Data, Metric, Pace, Prediction, Step, StepResult
from backends.data import Row
from backends.finetune import (
    classification,
    delivering,
    distilled,
    extraction,
    generation,
    pushing,
    results,
    tasks,
    tuned,
)
from backends.finetune.tuned import Base
from backends.peft import Settings, adapters, kinds
from backends.training import fourbit, precision
from knowledge.errors import UserError


def check(step: Step, settings: Settings, context: Context) -> None:
    """Refuse what could not be run, before anything is written: data, model, and every target."""
    kinds.refuse_foreign(step.method, settings)
    delivering.refuse(settings, whole=settings.merge)
    pushing.check(settings)
    if distilled.waits(step, settings, context):
        classification.refuse_missing(step)
        return
    step = distilled.resolved(step, settings, context)
    labels: tuple[str, ...] = ()
    kind = tasks.kind(step)
    if kind == tasks.CLASSIFY:
        labels = classification.check(step, settings, context).classes
    elif kind == tasks.TAG:
        labels = extraction.check(step, settings, context).tags
    else:
        generation.check(step, settings, context)
    if kinds.KINDS[step.method].four_bits:
        fourbit.configuration(settings.quant_type, settings.double_quant)
    if step.model is not None and not step.model.startswith("step:"):
        _try_on_meta(step, settings, kind, len(labels))


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train what the method adds and write `adapter/`, and `model/` if it is to be merged."""
    way = how(step.method, settings)
    step = distilled.resolved(step, settings, context)
    kind = tasks.kind(step)
    if kind == tasks.CLASSIFY:
        found = classification.run_tuned(step, settings, context, way, "adapter", adapters.load)
    elif kind == tasks.TAG:
        found = extraction.run(step, settings, context, way, "adapter", adapters.load_tagger)
    else:
        if precision.bf16(settings.precision):  # what never learns needs no more digits
            way = way._replace(loading={"dtype": torch.bfloat16, **way.loading})
            settings = msgspec.structs.replace(settings, precision="bf16")
        found = generation.run(step, settings, context, way, "adapter", adapters.load_generator)
    if settings.merge:
        folder = context.folder
        results.written(folder / "model", lambda to: adapters.merged(folder / "adapter", to))
    found = delivering.delivered(step, settings, context, found)
    return pushing.pushed(settings, context, found)


def pace(step: Step, settings: Settings, row: Row, count: int) -> Pace:
    """How a step goes over so many rows, whatever it learns from them."""
    epochs = tuned.passes(settings, kinds.KINDS[step.method].epochs, count)
    return Pace(epochs, settings.micro_batch)


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """The label of each text, what is found in it, or the answer to it, in order."""
    kind = adapters.task_of(folder / "adapter")
    if kind == tasks.CLASSIFY:
        return adapters.load(folder / "adapter").predictions(texts)
    if kind == tasks.TAG:
        return adapters.load_tagger(folder / "adapter").predictions(texts)
    return adapters.load_generator(folder / "adapter").predictions(texts)


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """Accuracy, macro-F1 and calibration on other data, F1 of spans, or loss and right answers."""
    kind = adapters.task_of(folder / "adapter")
    if kind == tasks.CLASSIFY:
        return classification.score(adapters.load(folder / "adapter"), data)
    if kind == tasks.TAG:
        return extraction.score(adapters.load_tagger(folder / "adapter"), data)
    return generation.score(adapters.load_generator(folder / "adapter"), data)


def how(method: str, settings: Settings) -> tuned.How:
    """A method of the backend, with its settings."""
    kind = kinds.KINDS[method]
    loading: dict[str, Any] = {}
    if kind.four_bits:
        quant = fourbit.configuration(settings.quant_type, settings.double_quant)
        loading["quantization_config"] = quant

    return tuned.How(
        prepare=lambda base: kinds.prepared(method, base, settings),
        save=adapters.save(method, settings),
        learning_rate=kind.learning_rate,
        head_learning_rate=1e-3,
        epochs=kind.epochs,
        loading=loading,
        optimizer="paged-adamw-8bit" if kind.four_bits else "adamw",
        added_tokens=settings.tokens if kind.lengthens else 0,
        packs=kind.packs,
    )


def _try_on_meta(step: Step, settings: Settings, kind: str, labels: int) -> None:
    """Prepare the model without its weights: wrong targets and layers are found before anything.

    Raises:
        UserError: as `kinds.prepared`.
    """
    source, name = weights.local(str(step.model)), str(step.model)
    with weights.loading(name):
        config = AutoConfig.from_pretrained(source)
        task = kind if labels else tasks.answering(source, name)
        if labels:
            config.num_labels = labels
        try:
            with torch.device("meta"):
                model = tasks.MODELS[task].from_config(config)
        except ValueError as error:
            raise UserError(f"the model {name!r} cannot be used here: {error}") from error
    kinds.prepared(step.method, Base(model, None, 0, frozenset(), source, name, task), settings)
