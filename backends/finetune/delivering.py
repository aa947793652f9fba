"""The last that a tuning step may do: its model in fewer bits too, compared with the first."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends import evaluate
from backends.base import Context, Step, StepResult
from backends.data import target_text
from backends.finetune import (
    Tuning,
    classification,
    classifiers,
    dialogues,
    generation,
    generators,
    results,
    tasks,
)
from backends.quantization import delivery
from knowledge.errors import UserError


def refuse(settings: Tuning, whole: bool) -> None:
    """Raise `UserError` if a model in fewer bits is wanted where there will be none to take.

    Args:
        whole: the step leaves a model of transformers.
    """
    if settings.deliver != "full" and not whole:
        raise UserError(
            f"deliver: {settings.deliver} needs a whole model of transformers; set merge: true "
            "for LoRA and its kin, or train: last-k or all for a classifier"
        )


def delivered(step: Step, settings: Tuning, context: Context, found: StepResult) -> StepResult:
    """The result with the figures of `model-int8/` or `model-int4/`, which is written here."""
    bits = settings.deliver
    if bits == "full":
        return found
    whole, less = context.folder / "model", context.folder / f"model-{bits}"
    context.progress.note(f"writing the model in {bits} and comparing it")
    if tasks.kind(step) == tasks.CLASSIFY:
        kind = tasks.CLASSIFY
        rows = classification.check(step, settings, context).test

        def right(folder: Path) -> Sequence[bool]:
            said, _ = classifiers.load(folder).answers([row.text for row in rows])
            return [one == row.label for one, row in zip(said, rows, strict=True)]
    else:
        kind = tasks.answering(str(whole), str(whole))
        some = list(generation.check(step, settings, context).test)[: settings.answers_scored or 20]

        def right(folder: Path) -> Sequence[bool]:
            said = generators.load(folder).answers(dialogues.prompt_of(row) for row in some)
            return [
                evaluate.same_answer(one, [target_text(row) or ""])
                for one, row in zip(said, some, strict=True)
            ]

    results.written(less, lambda to: delivery.quantized(whole, to, tasks.MODELS[kind], bits))
    figures = delivery.compared(whole, less, bits, right)
    return msgspec.structs.replace(found, metrics={**found.metrics, **figures})
