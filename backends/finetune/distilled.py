"""Rows that a teacher answered: an earlier step's answers, or texts labelled by a finished model.

`data: {train: step:ask}` learns from what the step `ask` (a prompt) said to its test data;
`labels_from: step:big` has the texts of the training file labelled by what `big` tuned.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends import base, data
from backends.base import Context, Step, StepResult
from backends.finetune import Tuning
from knowledge.errors import UserError

ANSWERED = "labelled.jsonl"  # as the prompting backend leaves it, and as it is written here
PARTS = ("train", "validation", "test")


def waits(step: Step, settings: Tuning, context: Context) -> bool:
    """Whether a teacher has still to make what this step learns from.

    Raises:
        UserError: there is no such step or run, or no file of texts for it to label.
    """
    places = [_place(value, context) for value in _references(step)]
    if settings.labels_from is not None:
        teacher = _teacher(settings.labels_from, context)
        earlier = settings.labels_from.startswith("step:")
        if not earlier and not (teacher / "step.json").is_file():
            raise UserError(f"labels_from: {str(teacher)!r} holds no finished run")
        _texts(step)
        return not (context.resume and (context.folder / ANSWERED).is_file())
    return any(not (place / ANSWERED).is_file() for place in places)


def resolved(step: Step, settings: Tuning, context: Context) -> Step:
    """The step with files in the place of references to teachers, which have done their part.

    Labelling by a tuned model happens here, once: a resumed step finds the file.

    Raises:
        UserError: the teacher answered nothing, or labels nothing.
    """
    changed = {
        part: str(_answers(value, context))
        for part in PARTS
        if (value := getattr(step.data, part) or "").startswith("step:")
    }
    if settings.labels_from is not None:
        changed["train"] = str(_labelled(step, settings.labels_from, context))
    if not changed:
        return step
    where = msgspec.structs.replace(step.data, **changed)
    if "train" in changed:  # its names are ours, whatever the others' columns are called
        _same_names(step)
    return msgspec.structs.replace(step, data=where)


def _references(step: Step) -> Iterator[str]:
    for part in PARTS:
        if (value := getattr(step.data, part) or "").startswith("step:"):
            yield value


def _same_names(step: Step) -> None:
    if step.data.columns or step.data.shape:
        raise UserError(
            f"step {step.name!r}: what a teacher answered has columns of its own; leave out "
            "columns and shape, and call those of the other files text and label"
        )


def _place(reference: str, context: Context) -> Path:
    name = reference.removeprefix("step:")
    if name not in context.artefacts:
        raise UserError(f"{reference!r}: no earlier step has that name; check the plan")
    return context.artefacts[name]


def _teacher(named: str, context: Context) -> Path:
    return _place(named, context) if named.startswith("step:") else Path(named).expanduser()


def _answers(reference: str, context: Context) -> Path:
    path = _place(reference, context) / ANSWERED
    if not path.is_file() or not path.stat().st_size:
        raise UserError(
            f"{reference!r} left no answers to learn from; it must be a prompt step that "
            "answered some of its test data"
        )
    return path


def _labelled(step: Step, named: str, context: Context) -> Path:
    """A file of the training texts with the labels that the teacher is sure enough to give."""
    path = context.folder / ANSWERED
    if path.is_file() and context.resume:
        return path
    teacher = _teacher(named, context)
    method = msgspec.json.decode((teacher / "step.json").read_bytes(), type=StepResult).method
    texts = _texts(step)
    context.progress.start("labelling", len(texts), "texts")
    beside = path.with_suffix(".new")
    kept = 0
    with beside.open("wb") as lines:
        said = base.load(method).predict(teacher, texts)
        for number, one in enumerate(said, start=1):
            row = _row(one)
            if row is not None:
                lines.write(msgspec.json.encode(row) + b"\n")
                kept += 1
            context.progress.advance(number)
            context.check_stop(f"stopped at text {number} of {len(texts)} (labelling)")
    if not kept:
        raise UserError(f"labels_from: {named!r} gave no label to any of {len(texts):,} texts")
    beside.replace(path)
    context.progress.note(f"{kept:,} of {len(texts):,} texts labelled by {named}")
    return path


def _texts(step: Step) -> list[str]:
    """The texts of the training file, whatever else it holds."""
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no training file; set data: {{train: FILE}}")
    rows = data.read(step.data.train, step.data.shape, step.data.columns).rows
    return [data.input_text(row) for row in rows]


def _row(said: base.Prediction) -> dict[str, Any] | None:
    if said.abstained:
        return None
    if said.label is not None:
        return {"text": said.text, "label": said.label}
    return {"prompt": said.text, "completion": said.answer} if said.answer else None
