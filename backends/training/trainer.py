"""A model, rows and settings into a trained model: the transformers Trainer, set up once.

What is added to it: an order of rows that a resumed run finds again, checkpoints sealed when
whole, a stop on request, a stop before a bad step spoils the weights, one clear line when the
disk is full, and silence on stdout.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import torch
from transformers import TrainingArguments, set_seed

from backends.base import Context, Interrupted
from backends.training import Training, checkpoints, finder, precision, silence
from backends.training.arguments import arguments, optimizer, save_steps, total_steps
from backends.training.batches import Order, padded
from backends.training.meter import Meter
from backends.training.room import Room
from backends.training.watch import Watch
from knowledge.errors import UserError

ARITHMETIC = "arithmetic.txt"
WORTH_MEASURING = 100  # steps of a training that is long enough to try both arithmetics first
Rows = Sequence[Mapping[str, Any]]


class Lesson(NamedTuple):
    """What is to be learnt: rows, how far the answers are off, and how good they are.

    Args:
        rows: each with `input_ids` and `labels`.
        loss: (model outputs, labels, examples in the whole step) to a scalar.
        validation: rows for early stopping, or none.
        measure: a trainer's predictions to figures; `metric` names the one to stop on.
        pad: the token that fills up a batch.
    """

    rows: Rows
    loss: Callable[..., torch.Tensor]
    pad: int
    validation: Rows | None = None
    measure: Callable[[Any], dict[str, float]] | None = None
    metric: str = "accuracy"


class Trained(msgspec.Struct, frozen=True):
    """What training came to.

    `best` is the validation metric of the weights that were kept; `expected_seconds` is what the
    first twenty steps of this part foretold of its `seconds` (None for fewer steps).
    """

    steps: int
    epochs: float
    resumed_from: int | None
    bf16: bool
    best: float | None
    seconds: float | None
    expected_seconds: float | None
    notes: tuple[str, ...]


def train(
    model: Any,
    groups: Sequence[Mapping[str, Any]],
    lesson: Lesson,
    settings: Training,
    context: Context,
    meter: Meter,
) -> Trained:
    """Train a model in place, keeping checkpoints in the context's folder.

    Args:
        groups: parameters with their learning rates, as torch optimizers take them.
        settings: with learning rate and epochs settled.
        meter: running; what an interrupted part had used is added to it on resume.
    Raises:
        Interrupted: the user asked to stop; the state is saved.
        UserError: the loss or a gradient is no number any more, the disk is full, or the data
            is not what the interrupted run had.
    """
    silence.quiet()
    folder = context.folder / "checkpoints"
    caches = getattr(
        getattr(model, "config", None), "use_cache", None
    )  # the trainer turns it off, for good
    data = checkpoints.fingerprint(lesson.rows)
    notes: list[str] = []
    found = resumable(folder, data, notes) if context.resume else None
    settings = msgspec.structs.replace(
        settings, precision=_arithmetic(model, lesson, settings, context)
    )
    if settings.find_learning_rate:
        times = finder.factor(
            model, groups, lesson.rows, lesson.loss, lesson.pad, settings, context,
            seed(context, settings),
        )  # fmt: skip
        rate = times * (settings.learning_rate or 0.0)
        groups = [{**group, "lr": times * group["lr"]} for group in groups]
        settings = msgspec.structs.replace(settings, learning_rate=rate)
        notes.append(f"learning rate {rate:.3g}, found by trying ({times:.3g} times the usual)")
    room = _room(model, groups, lesson, settings, context, meter, data)
    trained = taught(room, found, meter, notes)
    # Outside training the model computes as its file will say, not in the training's arithmetic.
    room.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if caches is not None:
        model.config.use_cache = caches
    return trained


def taught(
    room: Any, found: tuple[Path, checkpoints.Seal] | None, meter: Meter, notes: list[str]
) -> Trained:
    """Train in a room to its end, from a checkpoint if one was found.

    Raises:
        Interrupted: the user asked to stop; the state is saved.
    """
    if found is not None:
        meter.carry(found[1].seconds, found[1].peak_bytes)
    if found is not None and room.is_over(found[0]):
        room.restore(found[0])
    else:
        room.train(resume_from_checkpoint=None if found is None else str(found[0]))
    if room.watch.stopped:
        at, total = room.state.global_step, room.state.max_steps
        raise Interrupted(f"stopped at step {at} of {total}; saved in checkpoints/checkpoint-{at}")
    return Trained(
        steps=room.state.global_step,
        epochs=float(room.state.epoch or 0.0),
        resumed_from=None if found is None else found[1].step,
        bf16=bool(room.args.bf16),
        best=room.state.best_metric,
        seconds=room.watch.seconds,
        expected_seconds=room.watch.expected,
        notes=(*notes, *room.watch.notes),
    )


def seed(context: Context, settings: Training) -> int:
    """The seed of a step: its own, or the plan's."""
    return context.seed if settings.seed is None else settings.seed


def fix_chance(context: Context, settings: Training) -> None:
    """Fix all random numbers; to be called before a model gets new parameters."""
    set_seed(seed(context, settings))


def _arithmetic(
    model: Any, lesson: Lesson, settings: Training, context: Context
) -> Literal["fp32", "bf16"]:
    """The arithmetic to train in: as wished, or the faster one, measured once for a run.

    A short training on a processor stays in fp32: for bf16 each new length of a batch is first
    compiled, which only many steps make good. What was chosen is kept in the step's folder: a
    resumed run goes on in the same.
    """

    def learn() -> torch.Tensor:
        batch = padded(list(lesson.rows)[: settings.micro_batch], lesson.pad)
        place = next(model.parameters()).device
        inputs = {key: value.to(place) for key, value in batch.items()}
        labels = inputs.pop("labels")
        return lesson.loss(model(**inputs), labels, len(labels))

    steps = total_steps(len(lesson.rows), settings)
    return arithmetic(model, learn, steps, settings, context)


def arithmetic(
    model: Any,
    learn: Callable[[], torch.Tensor],
    steps: int,
    settings: Training,
    context: Context,
    *,
    compiled: bool = False,
) -> Literal["fp32", "bf16"]:
    """The arithmetic of a training of so many steps, kept in the step's folder.

    Args:
        learn: from nothing to the loss of one batch.
        compiled: the model will be, so that changing formats costs nothing by itself: bf16 is
            then the faster one wherever the processor computes it.
    """
    if settings.precision != "auto":
        return "bf16" if precision.bf16(settings.precision) else "fp32"
    kept = context.folder / ARITHMETIC
    if context.resume and kept.is_file():
        return "bf16" if kept.read_text().strip() == "bf16" else "fp32"
    able = precision.bf16("auto")
    chosen: Literal["fp32", "bf16"] = "bf16" if able and precision.device() == "cuda" else "fp32"
    if able and compiled:
        chosen = "bf16"
    elif able and chosen == "fp32" and steps >= WORTH_MEASURING:
        model.train()
        chosen = "bf16" if precision.measured(model, learn) else "fp32"
    kept.write_text(chosen)
    return chosen


def resumable(folder: Path, data: str, notes: list[str]) -> tuple[Path, checkpoints.Seal] | None:
    """The checkpoint to go on from; those cut off are dropped, and said so in the notes.

    Raises:
        UserError: it was made with other data.
    """
    partial = checkpoints.drop_partial(folder)
    notes += [f"{name} was cut off while it was written; it is dropped" for name in partial]
    found = checkpoints.last(folder)
    if found is not None and found[1].data != data:
        raise UserError(
            f"the training rows are not those of {found[0].name} (data, tokenizer or max_length "
            "changed); resume with the same data or start anew in another --out"
        )
    return found


def _room(
    model: Any,
    groups: Sequence[Mapping[str, Any]],
    lesson: Lesson,
    settings: Training,
    context: Context,
    meter: Meter,
    data: str,
) -> Room:
    chance = seed(context, settings)
    order = Order(
        [len(row["input_ids"]) for row in lesson.rows],
        settings.micro_batch * settings.accumulation,
        chance,
    )
    patience = settings.patience if lesson.validation else None
    steps = total_steps(len(lesson.rows), settings)
    watch = Watch(context, lesson.metric, patience, order.work(settings.micro_batch, steps))
    rates = [dict(group) for group in groups]
    return Room(
        order=order,
        watch=watch,
        meter=meter,
        data=data,
        model=model,
        args=TrainingArguments(
            **arguments(len(lesson.rows), settings, context.folder / "checkpoints", chance),
            **_evaluated(lesson, settings),
        ),
        data_collator=functools.partial(padded, pad=lesson.pad),
        train_dataset=list(lesson.rows),
        eval_dataset=None
        if lesson.validation is None
        else sorted(lesson.validation, key=lambda row: -len(row["input_ids"])),
        compute_loss_func=lesson.loss,
        compute_metrics=lesson.measure,
        optimizers=(
            optimizer(rates, settings),
            None,
        ),
    )


def _evaluated(lesson: Lesson, settings: Training) -> dict[str, Any]:
    """How a lesson is evaluated on the way.

    Evaluation goes by steps, never by epoch ends: a checkpoint is then always written after the
    evaluation of its step, and a resumed run draws the same random numbers.
    """
    validated = lesson.validation is not None
    return {
        "label_names": ["labels"],
        "eval_strategy": "steps" if validated else "no",
        "eval_steps": save_steps(len(lesson.rows), settings),
        "load_best_model_at_end": validated,
        "metric_for_best_model": lesson.metric if validated else None,
        "greater_is_better": (lesson.metric != "loss") if validated else None,
        "prediction_loss_only": lesson.measure is None,
    }
