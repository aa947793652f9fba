"""The calls of the `scratch` backend (`backends.base.Backend` says what each does)."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.finetune import results
from backends.scratch import ALIASES, Settings, corpora, drawing, finished, learning, sequences
from backends.scratch.finished import load
from backends.scratch.measures import figures
from backends.scratch.preparation import Prepared, prepared, settled
from backends.training.meter import Meter
from knowledge.errors import UserError


def check(step: Step, settings: Settings, context: Context) -> None:
    """Refuse what could not be run, before anything is written."""
    settings = settled(step, settings, ALIASES)
    if step.method == "cpt" and step.model is None:
        raise UserError(f"step {step.name!r} names no model to continue; set model")
    if step.method == "cpt" and settings.replay and step.data.corpus is None:
        given = {ALIASES.get(key, key) for key in step.settings}
        if "replay" in given:
            raise UserError(
                f"step {step.name!r}: replay needs general text; set data: {{corpus: FILE}}"
            )
    if step.data.train is None:
        corpora.split(step, settings, context)
    for path in (step.data.train, step.data.validation, step.data.corpus):
        if path is not None and not path.startswith("step:"):
            next(corpora.texts(path))


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train as the settings say, write `model/`, and measure it on held-out text.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    settings = settled(step, settings, ALIASES)
    with Meter() as meter:
        start = prepared(step, settings, context)
        metrics: dict[str, Metric] = {}
        if step.method == "cpt":
            start = learning.with_head(start, context, meter)
            metrics |= learning.before(start)
        if start.settings.predict:
            metrics |= learning.foretold(start, step, context, meter)
        taught = learning.taught(start, context, meter)
        model = learning.merged(start, taught.model, context)
        results.written(
            context.folder / "model", lambda to: finished.write(model, start.tokenizer, to)
        )
    metrics |= _scored(start, model, context)
    metrics |= learning.metrics(taught.taught, metrics)
    counts = _counts(start, model, taught.taught)
    notes = [*start.notes, *results.training_notes(taught.taught.trained, "loss")]
    notes += learning.notes(taught.taught, metrics)
    outcome = results.Outcome(metrics, counts, start.settings, "model", notes)
    return results.result(step, context, meter, outcome)


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """What the model makes of each text: a decoder goes on, others fill in what is hidden."""
    held = load(folder / "model")
    for text in texts:
        yield Prediction(text=text, answer=held.continued(text))


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """Loss, perplexity and bits per byte on other text."""
    path = data.test or data.validation or data.train or data.corpus
    if path is None:
        raise UserError("no data to evaluate on; give a file or folder of text")
    return load(folder / "model").measured(path)


def _scored(start: Prepared, model: Any, context: Context) -> dict[str, Metric]:
    """The figures of the finished model: on held-out text, on general text, of what it draws."""
    causal = start.settings.family == "llama"
    model.eval()
    metrics = figures(start.reader, model, start.domain, causal)
    if start.general is not None:
        general = figures(start.reader, model, start.general, causal)
        metrics["general_loss"] = general["loss"]
    if causal and start.settings.samples:
        begin = drawing.beginning(start.tokenizer, start.domain.train.index.documents)
        texts = drawing.drawn(model, start.tokenizer, start.settings, begin, start.settings.samples)
        lines = []
        for text in texts:
            row: dict[str, Any] = {"text": text}
            if start.settings.sequence is not None:
                row["fault"] = sequences.fault(start.settings.sequence, text)
            lines.append(row)
        content = b"\n".join(msgspec.json.encode(row) for row in lines) + b"\n"
        (context.folder / "samples.jsonl").write_bytes(content)
        if start.settings.sequence is not None:
            metrics["valid_samples"] = sequences.share(row["fault"] for row in lines)
    return metrics


def _counts(start: Prepared, model: Any, taught: Any) -> dict[str, int]:
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(start.tokenizer),
        "corpus_tokens": start.domain.train.tokens,
        "held_out_tokens": start.domain.held.tokens,
        "tokens": taught.tokens,
        "steps": taught.trained.steps,
        "epochs_hundredths": math.floor(100 * taught.tokens / start.domain.train.tokens),
        "skipped_steps": len(taught.skipped),
    }
