"""The step of any method that learns to find parts of texts: check, train, score, write.

Shapes: B rows of a batch, T tokens, C tags, H hidden, N tokens of all rows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch

from backends import data, evaluate, weights
from backends.base import Context, Data, Metric, Step, StepResult
from backends.data import Tagged
from backends.finetune import Tuning, classification, linear, results, taggers, tuned
from backends.finetune.taggers import Tagger
from backends.finetune.tasks import TAG
from backends.finetune.tuned import Base
from backends.training import batches, precision, trainer
from backends.training.batches import IGNORED
from backends.training.meter import Meter
from backends.training.trainer import Lesson
from knowledge.errors import UserError

FITTED_ON = 20_000  # tokens that the linear head on the frozen encoder is fitted to, at most


class Texts(NamedTuple):
    """Texts with spans to learn from, to choose by (perhaps none), and to score on."""

    train: Sequence[Tagged]
    validation: Sequence[Tagged] | None
    test: Sequence[Tagged]
    tags: tuple[str, ...]
    held_out: bool


def check(step: Step, settings: Tuning, context: Context) -> Texts:
    """Refuse what could not be run, before anything is written; returns the rows.

    Raises:
        UserError: no data, rows that are no texts with spans, no span in the training file, a
            label in another file that it lacks, settings of classifiers, or no such model.
    """
    if settings.class_weights != "none" or settings.abstain_below is not None:
        name = "class_weights" if settings.class_weights != "none" else "abstain_below"
        raise UserError(f"{name} is for classifiers of texts; the data hold spans; leave it out")
    if settings.deliver != "full":
        raise UserError("deliver: int8 and int4 are for classifiers and decoders; leave it out")
    found = _texts(step, settings, trainer.seed(context, settings))
    classification.refuse_missing(step)
    return found


def run(
    step: Step,
    settings: Tuning,
    context: Context,
    how: tuned.How,
    artefact: str,
    load: Callable[[Path], Tagger],
) -> StepResult:
    """Train a tagger by a method, write its artefact, and score what was written.

    Raises:
        Interrupted: the user stopped it; a checkpoint is kept.
    """
    found = check(step, settings, context)
    trainer.fix_chance(context, settings)
    with Meter() as meter:
        start = tuned.base(
            weights.local(str(step.model), context.artefacts), str(step.model), found.tags,
            settings.max_length, how.loading, how.added_tokens, TAG,
        )  # fmt: skip
        if not start.tokenizer.is_fast:
            raise UserError(
                f"the tokenizer of {start.name!r} does not tell where its tokens stand in a text; "
                "take a model with a fast one (tokenizer.json)"
            )
        settled = tuned.with_defaults(settings, how, len(found.train))
        rows, counts = _rows(start, found.train, found.tags, settled.overlong)
        baseline = _linear(start, found, rows, settled, context) if settings.compare else None
        validation = None
        if found.validation is not None:
            validation, _ = _rows(start, found.validation, found.tags, "split")
        model = how.prepare(start)
        trained = trainer.train(
            model,
            tuned.groups(model, start.new, settled),
            Lesson(rows, _loss, start.tokenizer.pad_token_id, validation, metric="loss"),
            settled,
            context,
            meter,
        )
        model.eval()
        results.written(context.folder / artefact, lambda to: how.save(model, start, to))
    tagger = load(context.folder / artefact)
    metrics, said = tagger.metrics(found.test, context)
    wanted = [taggers.plain(row.spans) for row in found.test]
    if baseline is not None:
        metrics["baseline_linear_head_span_f1"] = baseline[0]
        metrics["gain_over_linear_head"] = evaluate.paired_f1(
            wanted, [taggers.plain(some) for some in said], baseline[1]
        )
    counts |= {
        "max_length": start.max_length,
        "steps": trained.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    _listed(context.folder, found.test, said)
    notes = results.training_notes(trained, "loss")
    if counts["truncated"]:
        notes.append(
            f"{counts['truncated']:,} of {len(found.train):,} training texts were longer than "
            f"{start.max_length} tokens (overlong: {settled.overlong})"
        )
    if found.held_out:
        notes.append(f"scored on {len(found.test):,} rows held out of the training file")
    outcome = results.Outcome(metrics, {**_sizes(found), **counts}, settled, artefact, notes)
    return results.result(step, context, meter, outcome)


def score(tagger: Tagger, where: Data) -> dict[str, Metric]:
    """The metrics of a tagger on the test file of some data, or on its only file.

    Raises:
        UserError: there is no file, or it holds no texts with spans.
    """
    path = where.test or where.validation or where.train
    if path is None:
        raise UserError("no data to evaluate on; give a file of texts with spans")
    return tagger.metrics(_tagged(where, path))[0]


def _loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The loss per token over a whole step, however it is cut into micro-batches."""
    logits = outputs.logits[:, -labels.shape[1] :]  # trained vectors before the input have no tag
    learnt = labels != IGNORED
    summed = torch.nn.functional.cross_entropy(
        logits[learnt].float(), labels[learnt], reduction="sum"
    )
    return summed / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)


def _rows(
    start: Base, texts: Sequence[Tagged], tags: Sequence[str], overlong: str
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Rows of tokens with tags, and how many texts were longer than the model reads.

    Raises:
        UserError: none is left.
    """
    rows = []
    longer = 0
    for text in texts:
        cut = taggers.pieces(start.tokenizer, text.text, start.max_length)
        longer += len(cut) > 1
        if len(cut) > 1 and overlong == "drop":
            continue
        for piece in cut if overlong == "split" else cut[:1]:
            labels = taggers.labels_for(piece, text.spans, tags)
            if any(label != IGNORED for label in labels):
                rows.append({"input_ids": piece.ids, "labels": labels, "line": text.line})
    if not rows:
        raise UserError(
            f"none of {len(texts):,} texts has a token to learn within {start.max_length} tokens; "
            "raise max_length or set overlong: split"
        )
    return rows, {"truncated": longer}


def _linear(
    start: Base, found: Texts, rows: Sequence[Any], settings: Tuning, context: Context
) -> tuple[Metric, list[list[tuple[int, int, str]]]]:
    """What a linear map of the frozen encoder's token vectors finds: its F1, and the spans."""
    encoder = start.model.base_model
    place = next(encoder.parameters()).device
    pad = start.tokenizer.pad_token_id or 0

    def vectors(batch: Sequence[Any]) -> torch.Tensor:
        padded = batches.padded([{"input_ids": row["input_ids"]} for row in batch], pad)
        inputs = {key: value.to(place) for key, value in padded.items()}
        states: torch.Tensor = encoder(**inputs).last_hidden_state.float().cpu()
        return states

    start.model.eval()
    seen: list[torch.Tensor] = []
    wanted: list[int] = []
    with torch.inference_mode(), precision.autocast(False):
        for begin in range(0, len(rows), taggers.SCORED_AT_ONCE):
            if len(wanted) >= FITTED_ON:
                break
            batch = rows[begin : begin + taggers.SCORED_AT_ONCE]
            for row, states_TH in zip(batch, vectors(batch), strict=True):
                learnt = [n for n, label in enumerate(row["labels"]) if label != IGNORED]
                seen.append(states_TH[learnt])
                wanted += [row["labels"][n] for n in learnt]
    features_NH = torch.cat(seen).clone()
    fit = linear.fit(
        features_NH, torch.tensor(wanted), len(found.tags), trainer.seed(context, settings)
    )
    said = []
    with torch.inference_mode():
        for text in found.test:
            spans = []
            for piece in taggers.pieces(start.tokenizer, text.text, start.max_length):
                states_TH = vectors([{"input_ids": piece.ids}])[0]
                best = (states_TH @ fit.weight.T + fit.bias).argmax(-1).tolist()
                spans += taggers.plain(taggers.spans_of(text.text, piece, best, found.tags))
            said.append(spans)
    truth = [taggers.plain(row.spans) for row in found.test]
    return evaluate.found_spans(truth, said)["span_f1"], said


def _listed(folder: Path, rows: Sequence[Tagged], said: Sequence[Any]) -> None:
    """Write what was found wrongly, and the scores of each label, beside the result."""
    results.write_errors(
        folder,
        (
            {"line": row.line, "text": row.text, "wanted": row.spans, "said": found}
            for row, found in zip(rows, said, strict=True)
            if list(row.spans) != list(found)
        ),
    )
    scores = evaluate.per_label(
        [taggers.plain(row.spans) for row in rows], [taggers.plain(found) for found in said]
    )
    (folder / "classes.json").write_bytes(msgspec.json.format(msgspec.json.encode(scores)))


def _sizes(found: Texts) -> dict[str, int]:
    sizes = {
        "train": len(found.train),
        "test": len(found.test),
        "spans": sum(len(row.spans) for row in found.train),
        "labels": len(found.tags) // 2,
    }
    return sizes if found.validation is None else {**sizes, "validation": len(found.validation)}


def _texts(step: Step, settings: Tuning, seed: int) -> Texts:
    train: Sequence[Tagged] = _tagged(step.data, str(step.data.train))
    tags = taggers.tags_of(train)
    if len(tags) == 1:
        raise UserError(
            f"{Path(str(step.data.train)).name} has no span in {len(train):,} texts; "
            "there is nothing to learn to find"
        )
    test: Sequence[Tagged]
    if step.data.test is None:
        train, test = _split(train, settings.test_share, seed)
    else:
        test = _tagged(step.data, step.data.test)
    validation: Sequence[Tagged] | None = None
    share = settings.validation_share or (0.1 if settings.patience is not None else None)
    if step.data.validation is not None:
        validation = _tagged(step.data, step.data.validation)
    elif share is not None:
        train, validation = _split(train, share, seed + 1)
    for part in (test, validation or ()):
        strange = sorted(set(taggers.tags_of(part)) - set(tags))
        if strange:
            raise UserError(
                f"no training text has the label {strange[0][2:]!r} of another file; add some, "
                "or drop those spans"
            )
    return Texts(train, validation, test, tags, step.data.test is None)


def _split(
    rows: Sequence[Tagged], share: float, seed: int
) -> tuple[Sequence[Tagged], Sequence[Tagged]]:
    keep, held = data.split(rows, share, seed)
    return (
        [row for row in keep if isinstance(row, Tagged)],
        [row for row in held if isinstance(row, Tagged)],
    )


def _tagged(where: Data, path: str) -> Sequence[Tagged]:
    found = data.read(path, where.shape, where.columns)
    rows = [row for row in found.rows if isinstance(row, Tagged)]
    if len(rows) != len(found.rows):
        raise UserError(
            f"{found.path.name} has the shape {found.shape!r}; texts with spans are needed "
            "(tokens,tags or text,spans)"
        )
    return rows
