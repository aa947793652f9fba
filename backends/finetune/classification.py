"""The step of any method that makes a text classifier: check, train, score, write."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from transformers import AutoConfig

from backends import evaluate, weights
from backends.base import Context, Data, Metric, Step, StepResult
from backends.finetune import (
    Tuning,
    answered,
    classifiers,
    contrastive,
    encoders,
    frozen,
    results,
    tuned,
)
from backends.finetune.classifiers import Classifier
from backends.finetune.examples import Examples, examples, labelled
from backends.training import silence, trainer
from backends.training.meter import Meter
from knowledge.errors import UserError

DEFAULT_MODEL = "all-minilm-l6-v2"


def check(step: Step, settings: Tuning, context: Context) -> Examples:
    """Refuse what could not be run, before anything is written; returns the rows.

    Raises:
        UserError: see `examples.examples`; or the model's folder or step is not there.
    """
    found = _examples(step, settings, context)
    refuse_missing(step)
    return found


def refuse_missing(step: Step) -> None:
    """Raise `UserError` unless the model of a step is there, or will be once a step has run."""
    if step.model is None:
        raise UserError(
            f"step {step.name!r} names no model; set model: {DEFAULT_MODEL} or another encoder"
        )
    if not step.model.startswith("step:"):  # what an earlier step makes is not there yet
        silence.quiet()
        with weights.loading(step.model):
            AutoConfig.from_pretrained(weights.local(step.model))


def run_head(step: Step, settings: Tuning, context: Context) -> StepResult:
    """Fit a head on a frozen encoder and write `model/`."""
    found = check(step, settings, context)
    with Meter() as meter:
        head = _frozen(step, settings, context, found)
        made = head.classifier
        results.written(
            context.folder / "model",
            lambda folder: encoders.save(made.model, made.tokenizer, made.max_length, folder),
        )
        classifiers.abstain(context.folder / "model", settings.abstain_below)
    made = made._replace(abstain_below=settings.abstain_below or 0.0)
    metrics, said = made.metrics(found.test, context)
    counts = {
        "truncated": head.truncated,
        "max_length": made.max_length,
        "parameters": sum(p.numel() for p in made.model.parameters()),
        "trainable_parameters": sum(p.numel() for p in made.model.head.parameters()),
    }
    notes = [f"L2 strength {head.strength:g}, chosen on held-out training rows"]
    return _result(
        step,
        settings,
        context,
        found,
        said,
        meter,
        results.Outcome(metrics, counts, settings, "model", notes),
    )


def run_contrastive(step: Step, settings: Tuning, context: Context) -> StepResult:
    """Draw texts of a class together, fit a head on the encoder that results, write `model/`.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    found = check(step, settings, context)
    trainer.fix_chance(context, settings)
    with Meter() as meter:
        source = weights.local(str(step.model), context.artefacts)
        learnt = contrastive.learn(source, str(step.model), found, settings, context, meter)
        made = learnt.head.classifier
        results.written(
            context.folder / "model",
            lambda folder: encoders.save(made.model, made.tokenizer, made.max_length, folder),
        )
        classifiers.abstain(context.folder / "model", settings.abstain_below)
    metrics, said = classifiers.load(context.folder / "model").metrics(found.test, context)
    if settings.compare:
        metrics |= _comparison(step, settings, context, found, said)
    size = sum(p.numel() for p in made.model.parameters())
    counts = {
        "truncated": learnt.head.truncated,
        "max_length": made.max_length,
        "steps": learnt.trained.steps,
        "parameters": size,
        "trainable_parameters": size,
    }
    notes = results.training_notes(learnt.trained, "accuracy")
    outcome = results.Outcome(metrics, counts, learnt.settings, "model", notes)
    return _result(step, settings, context, found, said, meter, outcome)


def run_tuned(
    step: Step,
    settings: Tuning,
    context: Context,
    how: tuned.How,
    artefact: str,
    load: Callable[[Path], Classifier],
) -> StepResult:
    """Train a classifier by a method, write its artefact, and score what was written.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    found = check(step, settings, context)
    trainer.fix_chance(context, settings)
    with Meter() as meter:
        start = tuned.base(
            weights.local(str(step.model), context.artefacts),
            str(step.model),
            found.classes,
            settings.max_length,
            how.loading,
            how.added_tokens,
        )
        learnt = tuned.learn(start, how, settings, found, context, meter)
        results.written(context.folder / artefact, lambda to: how.save(learnt.model, start, to))
        classifiers.abstain(context.folder / artefact, settings.abstain_below)
    metrics, said = load(context.folder / artefact).metrics(found.test, context)
    if settings.compare:
        metrics |= _comparison(step, settings, context, found, said)
    notes = results.training_notes(learnt.trained, "accuracy")
    outcome = results.Outcome(metrics, learnt.counts, learnt.settings, artefact, notes)
    return _result(step, settings, context, found, said, meter, outcome)


def score(classifier: Classifier, where: Data) -> dict[str, Metric]:
    """The metrics of a classifier on the test file of some data, or on its only file.

    Raises:
        UserError: there is no file, or it has labels that the classifier does not know.
    """
    path = where.test or where.validation or where.train
    if path is None:
        raise UserError("no data to evaluate on; give a file of texts with labels")
    rows = labelled(where, path)
    unknown_rows = [row for row in rows if row.label not in set(classifier.labels)]
    if unknown_rows:
        row, others = unknown_rows[0], len(unknown_rows) - 1
        more = f" (nor those of {others} other row{'s' if others != 1 else ''})" if others else ""
        raise UserError(
            f"{Path(path).name}, line {row.line}: the model has no label {row.label!r}{more}; "
            f"it knows {len(classifier.labels)}"
        )
    return classifier.metrics(rows)[0]


def _against_prompting(
    settings: Tuning, context: Context, found: Examples, said: list[str]
) -> dict[str, Metric]:
    """What a prompt reached on the same test rows, and what tuning gains over it.

    Raises:
        UserError: there is no such run, or it was asked about other rows.
    """
    if settings.against is None:
        return {}
    prompted = answered.labels(settings.against, context, [row.line for row in found.test])
    labels = [row.label for row in found.test]
    return {
        "baseline_prompting_accuracy": evaluate.share(
            sum(a == b for a, b in zip(prompted, labels, strict=True)), len(labels)
        ),
        "gain_over_prompting": evaluate.paired_difference(labels, said, prompted),
    }


def _comparison(
    step: Step, settings: Tuning, context: Context, found: Examples, said: list[str]
) -> dict[str, Metric]:
    """What a linear head on the same encoder, frozen, reaches, and what tuning gains over it."""
    begun = time.perf_counter()
    head = _frozen(step, settings, context, found)
    seconds = time.perf_counter() - begun
    metrics, plain = head.classifier.metrics(found.test, context)
    labels = [row.label for row in found.test]
    return {
        "baseline_linear_head_accuracy": metrics["accuracy"],
        "baseline_linear_head_seconds": Metric(seconds),
        "gain_over_linear_head": evaluate.paired_difference(labels, said, plain),
    }


def _frozen(step: Step, settings: Tuning, context: Context, found: Examples) -> frozen.Head:
    return frozen.fitted(
        weights.local(str(step.model), context.artefacts), str(step.model), found, settings, context
    )


def _examples(step: Step, settings: Tuning, context: Context) -> Examples:
    share = settings.validation_share
    if share is None and settings.patience is not None:
        share = 0.1
    return examples(step, settings.test_share, share, trainer.seed(context, settings))


def _majority(found: Examples) -> Metric:
    label = found.majority()
    return evaluate.share(sum(row.label == label for row in found.test), len(found.test))


def _result(
    step: Step,
    settings: Tuning,
    context: Context,
    found: Examples,
    said: list[str],
    meter: Meter,
    outcome: results.Outcome,
) -> StepResult:
    results.write_errors(
        context.folder,
        (
            {"line": row.line, "text": row.text, "label": row.label, "said": one}
            for row, one in zip(found.test, said, strict=True)
            if one != row.label
        ),
    )
    scores = evaluate.per_class([row.label for row in found.test], said)
    (context.folder / "classes.json").write_bytes(msgspec.json.format(msgspec.json.encode(scores)))
    cut, length = outcome.counts["truncated"], outcome.counts["max_length"]
    notes = list(outcome.notes)
    if cut:
        notes.append(f"{cut:,} of {len(found.train):,} training texts were cut to {length} tokens")
    if found.held_out:
        notes.append(f"scored on {len(found.test):,} rows held out of the training file")
    whole = outcome._replace(
        metrics={
            **outcome.metrics,
            "baseline_majority_accuracy": _majority(found),
            **_against_prompting(settings, context, found, said),
        },
        counts={**found.counts(), **outcome.counts},
        notes=notes,
    )
    return results.result(step, context, meter, whole)
