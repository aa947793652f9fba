"""What a model that answers says before it learns: as it is, and shown examples first."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from backends.base import Context, Metric
from backends.data import Row
from backends.finetune import Tuning, dialogues, generators
from backends.finetune.generators import Generator
from backends.finetune.tuned import Base

GENERAL = Path(__file__).with_name("general.txt")


class Before(NamedTuple):
    """What a model says before it learns: metrics, answers to the first test rows, the same with
    examples before the question (none where none fit), and the loss on general text."""

    metrics: dict[str, Metric]
    said: list[str]
    prompted: list[str]
    general: float | None


def before(
    start: Base, train: Sequence[Row], test: Sequence[Row], settings: Tuning, context: Context
) -> Before:
    """What a model says to test rows before it learns."""
    start.model.eval()
    start.model.generation_config.max_new_tokens = settings.answer_tokens or 64
    untuned = Generator(start.model, start.tokenizer, start.max_length)
    metrics, said = generators.measured(untuned, test, settings.answers_scored, context)
    return Before(
        metrics, said, _prompted(untuned, train, test, settings, context), general_loss(untuned)
    )


def _prompted(
    untuned: Generator,
    train: Sequence[Row],
    test: Sequence[Row],
    settings: Tuning,
    context: Context,
) -> list[str]:
    """Answers of the model as it was, shown examples first: as many as its context holds.

    The examples are the same for all, spread evenly over the training rows.
    """
    some = [dialogues.prompt_of(row) for row in test[: settings.answers_scored]]
    for shots in range(min(settings.compare_shots, len(train)), 0, -1):
        places = [len(train) * n // shots for n in range(shots)]
        shown = [
            turn
            for place in places
            for turn in dialogues.conversation(train[place])
            if turn["role"] != "system"
        ]
        talks = [_after_examples(talk, shown) for talk in some]
        if talks and all(untuned.holds(talk) for talk in talks):
            context.progress.start("answering from examples", len(talks), "texts")
            return list(untuned.answers(talks, context))
    return []


def _after_examples(talk: dialogues.Talk, shown: dialogues.Talk) -> dialogues.Talk:
    """A conversation with examples before its first question, after what the system says."""
    rules = [turn for turn in talk if turn["role"] == "system"]
    return [*rules, *shown, *(turn for turn in talk if turn["role"] != "system")]


def general_loss(generator: Generator) -> float | None:
    """The loss per token on a page of plain English, which tells what tuning made it forget.

    None for a model of two halves, which does not continue texts.
    """
    if generator.model.config.is_encoder_decoder:
        return None
    lines = GENERAL.read_text(encoding="utf-8").splitlines()
    coded = generator.tokenizer(lines, truncation=True, max_length=generator.max_length)
    rows = [{"input_ids": ids, "labels": ids} for ids in coded["input_ids"] if len(ids) > 1]
    found = generator.losses(rows)
    tokens = sum(count for _, count, _ in found)
    return sum(loss for loss, _, _ in found) / tokens if tokens else None
