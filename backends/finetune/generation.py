"""The step of any method that makes a model answer: check, train, score, write."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer

from backends import data, evaluate, weights
from backends.base import Context, Data, Metric, Step, StepResult
from backends.data import Completion, Messages, Preference, Ranking, Row, Text, target_text
from backends.finetune import Tuning, before, dialogues, generators, results, tuned
from backends.finetune.before import Before
from backends.finetune.dialogues import Dialogues
from backends.finetune.generators import Generator
from backends.finetune.tasks import REWRITE, answering
from backends.finetune.tuned import Base
from backends.training import batches, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson, Trained
from knowledge.errors import UserError

ANSWERED = Completion | Messages | Preference | Ranking


class Corpus(NamedTuple):
    """Conversations to learn from, to choose by (perhaps none), and to score on."""

    train: Sequence[Row]
    validation: Sequence[Row] | None
    test: Sequence[Row]
    held_out: bool


def check(step: Step, settings: Tuning, context: Context) -> Corpus:
    """Refuse what could not be run, before anything is written; returns the rows.

    Raises:
        UserError: no data, rows that are no conversations, one row only, a model that is not
            there or cannot write.
    """
    found = _corpus(step, settings, trainer.seed(context, settings))
    if step.model is None:
        raise UserError(f"step {step.name!r} names no model; set model: a folder or hub id")
    if not step.model.startswith("step:"):  # what an earlier step makes is not there yet
        source = weights.local(step.model)
        answering(source, step.model)
        silence.quiet()
        with weights.loading(step.model):
            tokenizer = AutoTokenizer.from_pretrained(source)
        dialogues.templated(tokenizer)
        for row in found.train[:1]:
            dialogues.rendered(tokenizer, dialogues.conversation(row))
    return found


def run(
    step: Step,
    settings: Tuning,
    context: Context,
    how: tuned.How,
    artefact: str,
    load: Callable[[Path], Generator],
) -> StepResult:
    """Train a model to answer by a method, write its artefact, and score what was written.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    found = check(step, settings, context)
    trainer.fix_chance(context, settings)
    notes: list[str] = []
    with Meter() as meter:
        source = weights.local(str(step.model), context.artefacts)
        start, plain = generators.base(source, str(step.model), settings.max_length, how.loading)
        if plain:
            notes.append("the tokenizer had no chat template; a plain one is saved with it")
        settled = tuned.with_defaults(settings, how, len(found.train))
        encoded = _encoded(start, found.train, settled)
        untuned = (
            before.before(start, found.train, found.test, settings, context)
            if settings.compare
            else None
        )
        model, trained, counts = _learnt(start, how, settled, found, encoded, context, meter)
        results.written(
            context.folder / artefact, lambda to: _write(how, model, start, counts, settings, to)
        )
    metrics, said = _scored(load(context.folder / artefact), found, settings, context, untuned)
    if counts["truncated"]:
        notes.append(
            f"{counts['truncated']:,} of {len(found.train):,} conversations were cut to "
            f"{start.max_length} tokens"
        )
    if masked := counts.get("dropped_without_answer_tokens", 0):
        notes.append(
            f"{masked:,} of {len(found.train):,} conversations taught nothing: no part of their "
            f"answers lies within {start.max_length} tokens; raise max_length or set "
            "overlong: split"
        )
    if found.held_out:
        notes.append(f"scored on {len(found.test):,} rows held out of the training file")
    notes += results.training_notes(trained, "loss")
    outcome = results.Outcome(metrics, counts, settled, artefact, notes)
    _list_errors(context.folder, found, said)
    return results.result(step, context, meter, outcome)


def score(generator: Generator, where: Data, answered: int = 100) -> dict[str, Metric]:
    """The metrics of a model that answers on the test file of some data, or on its only file.

    Raises:
        UserError: there is no file, or it holds no conversations.
    """
    path = where.test or where.validation or where.train
    if path is None:
        raise UserError("no data to evaluate on; give a file of prompts with answers")
    return generators.measured(generator, _rows(where, path), answered)[0]


def _learnt(
    start: Base,
    how: tuned.How,
    settled: Tuning,
    found: Corpus,
    encoded: Dialogues,
    context: Context,
    meter: Meter,
) -> tuple[Any, Trained, dict[str, int]]:
    """The trained model, how training went, and what there was to count."""
    shifted = start.task == REWRITE
    rows: list[dict[str, Any]] = encoded.rows
    counts = {"train": len(found.train), "test": len(found.test), **encoded.counts()}
    if settled.packing and not shifted and how.packs and _packs(start):
        rows = dialogues.packed(encoded.rows, start.max_length)
        counts["packed_rows"] = len(rows)
    validation = None
    if found.validation is not None:
        validation = _encoded(start, found.validation, settled).rows
    model = how.prepare(start)
    trained = trainer.train(
        model,
        tuned.groups(model, start.new, settled),
        Lesson(
            rows,
            partial(generators.token_loss, shifted=shifted),
            start.tokenizer.pad_token_id,
            validation,
            metric="loss",
        ),
        settled,
        context,
        meter,
    )
    model.eval()
    counts |= {
        "max_length": start.max_length,
        "longest_answer": encoded.longest_answer,
        "steps": trained.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    return model, trained, counts


def _encoded(start: Base, rows: Sequence[Row], settings: Tuning) -> Dialogues:
    encoded = generators.encoded(start, rows, settings.overlong, settings.learn)
    if not encoded.rows:
        raise UserError(
            f"none of {len(rows):,} conversations has an answer within {start.max_length} tokens "
            f"({encoded.masked:,} have only a prompt there, {encoded.dropped:,} were dropped as "
            "too long); raise max_length or set overlong: split"
        )
    return encoded


def _packs(start: Base) -> bool:
    """Whether the model keeps packed texts apart: tried on two, whose logits must not change.

    A model that takes no `position_ids`, or counts them from elsewhere, is fed unpacked.
    """
    vocabulary = start.model.config.get_text_config().vocab_size
    chance = torch.Generator().manual_seed(0)
    one, two = (torch.randint(vocabulary, (size,), generator=chance).tolist() for size in (5, 7))
    place = next(start.model.parameters()).device
    texts = [{"input_ids": ids, "labels": ids} for ids in (one, two)]
    together = batches.padded(dialogues.packed(texts, 12), start.tokenizer.pad_token_id)
    del together["labels"]
    was_training = start.model.training
    start.model.eval()
    try:
        with torch.inference_mode():
            apart = [
                start.model(input_ids=torch.tensor([ids], device=place)).logits[0]
                for ids in (two, one)
            ]
            inputs = {key: value.to(place) for key, value in together.items()}
            packed = start.model(**inputs, use_cache=False)  # as the trainer has it
    except TypeError:
        return False
    finally:
        start.model.train(was_training)
    wanted = torch.cat(apart)
    return bool(torch.allclose(packed.logits[0], wanted, atol=1e-3 * float(wanted.abs().max())))


def _write(
    how: tuned.How,
    model: Any,
    start: Base,
    counts: dict[str, int],
    settings: Tuning,
    folder: Path,
) -> None:
    limit = settings.answer_tokens or max(8, math.ceil(1.25 * counts["longest_answer"]))
    start.model.generation_config.max_new_tokens = limit
    how.save(model, start, folder)
    _refuse_lost_ends(start, folder)


def _refuse_lost_ends(start: Base, folder: Path) -> None:
    """Raise `RuntimeError` unless the saved tokenizer writes and ends answers as the trained one.

    (Merges and exports have lost templates and end tokens before; such a model never stops.)
    """
    saved = AutoTokenizer.from_pretrained(folder)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    same = dialogues.rendered(saved, talk) == dialogues.rendered(start.tokenizer, talk)
    if not same or dialogues.ends_of(saved) != dialogues.ends_of(start.tokenizer):
        raise RuntimeError(f"the tokenizer saved in {folder} is not the one trained with")


def _scored(
    generator: Generator,
    found: Corpus,
    settings: Tuning,
    context: Context,
    untuned: Before | None,
) -> tuple[dict[str, Metric], list[str]]:
    """Metrics of the tuned model beside those of the model as it was, with paired intervals."""
    metrics, said = generators.measured(generator, found.test, settings.answers_scored, context)
    if untuned is None:
        return metrics, said
    metrics |= {f"baseline_untuned_{name}": metric for name, metric in untuned.metrics.items()}
    wanted = [[target_text(row) or ""] for row in found.test[: len(said)]]
    if said:
        metrics["gain_over_untuned"] = _gain(said, untuned.said, wanted)
    if untuned.prompted:
        metrics["baseline_prompted_exact_match"] = evaluate.exact_match(untuned.prompted, wanted)
        metrics["gain_over_prompting"] = _gain(said, untuned.prompted, wanted)
    after = None if untuned.general is None else before.general_loss(generator)
    if untuned.general is not None and after is not None:
        metrics["general_loss_before"] = Metric(untuned.general)
        metrics["general_loss_after"] = Metric(after)
    return metrics, said


def _gain(new: list[str], old: list[str], wanted: list[list[str]]) -> Metric:
    """The share of right answers of the new minus that of the old, with its paired interval."""
    return evaluate.mean(
        [
            float(evaluate.same_answer(one, ones)) - float(evaluate.same_answer(other, ones))
            for one, other, ones in zip(new, old, wanted, strict=True)
        ]
    )


def _list_errors(folder: Path, found: Corpus, said: list[str]) -> None:
    """Write the test rows answered wrongly beside the result."""
    results.write_errors(
        folder,
        (
            {
                "line": row.line,
                "prompt": data.input_text(row),
                "wanted": target_text(row),
                "said": one,
            }
            for row, one in zip(found.test, said, strict=False)
            if not evaluate.same_answer(one, [target_text(row) or ""])
        ),
    )


def _corpus(step: Step, settings: Tuning, seed: int) -> Corpus:
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no training file; set data: {{train: FILE}}")
    train: Sequence[Row] = _rows(step.data, step.data.train)
    kin = data.groups(step.data.train, step.data.group)
    held_out = step.data.test is None
    if held_out:
        train, test = _split(train, settings.test_share, seed, kin)
    else:
        test = list(_rows(step.data, str(step.data.test)))
    validation: Sequence[Row] | None = None
    share = settings.validation_share
    if share is None and settings.patience is not None:
        share = 0.1
    if step.data.validation is not None:
        validation = _rows(step.data, step.data.validation)
    elif share is not None:
        train, validation = _split(train, share, seed + 1, kin)
    return Corpus(train, validation, test, held_out)


def _split(
    rows: Sequence[Row], share: float, seed: int, kin: Mapping[int, str]
) -> tuple[list[Row], list[Row]]:
    keep, held = data.split(rows, share, seed, kin)
    return keep, held


def _rows(where: Data, path: str) -> Sequence[Row]:
    found = data.read(path, where.shape, where.columns)
    if not all(isinstance(row, ANSWERED) for row in found.rows):
        wrong = "plain texts" if isinstance(found.rows[0], Text) else f"the shape {found.shape!r}"
        raise UserError(
            f"{Path(path).name} holds {wrong}; answering is learnt from prompt,completion, "
            "instruction,input,output (Alpaca), messages or conversations"
        )
    return found.rows
