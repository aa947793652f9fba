"""A transformers classifier with new parameters for its head, and how it learns.

What differs between methods is which parameters learn and how the result is saved: a `How`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from transformers import AutoTokenizer

from backends import weights
from backends.base import Context
from backends.finetune import Tuning, encoders
from backends.finetune.examples import Examples, context_length, tokens
from backends.finetune.tasks import CLASSIFY, MODELS
from backends.training import fourbit, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson, Trained
from knowledge.errors import UserError

STEPS = 300  # optimizer steps at least, where the user does not say
MOST_EPOCHS = 20.0


class Base(NamedTuple):
    """A loaded model before it learns; `new` names the parameters that no one trained yet.

    `task` is what it is to do, as `backends.finetune.tasks` names it.
    """

    model: Any
    tokenizer: Any
    max_length: int
    new: frozenset[str]
    source: str
    name: str
    task: str = CLASSIFY


class How(NamedTuple):
    """A method: the model it trains, its default rates, and how the result is written.

    Args:
        prepare: a base to the model that learns, with `requires_grad` set.
        save: model and base into a folder.
        learning_rate: of the old parameters or of an adapter; `head_learning_rate` of new ones.
        loading: more of what `from_pretrained` takes for the base.
        optimizer: where the user names none.
        added_tokens: places of the sequence that the method takes for itself.
        packs: whether several texts may share a row (not where each needs vectors before it).
    """

    prepare: Callable[[Base], Any]
    save: Callable[[Any, Base, Path], None]
    learning_rate: float
    head_learning_rate: float
    epochs: float
    loading: Mapping[str, Any] = {}
    optimizer: str = "adamw"
    added_tokens: int = 0
    packs: bool = True


class Learnt(NamedTuple):
    """What came of it: the trained model, how training went, and counts for the result."""

    model: Any
    base: Base
    trained: Trained
    settings: Tuning
    counts: dict[str, int]


def base(
    source: str,
    name: str,
    classes: Sequence[str],
    max_length: int | None,
    loading: Mapping[str, Any] | None = None,
    added_tokens: int = 0,
    task: str = CLASSIFY,
) -> Base:
    """The classifier on top of a pretrained model, its labels set, in fp32.

    Args:
        classes: of texts, or the tags of tokens.
        loading: more of what `from_pretrained` takes.
        added_tokens: places of the sequence that are kept free.
        task: of `backends.finetune.tasks`: whether texts or tokens are classified.
    Raises:
        UserError: it cannot be loaded, or transformers has no classifier of its kind.
    """
    silence.quiet()
    with weights.loading(name):
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model, report = MODELS[task].from_pretrained(
            source,
            dtype=torch.float32,
            num_labels=len(classes),
            id2label=dict(enumerate(classes)),
            label2id={label: number for number, label in enumerate(classes)},
            problem_type="single_label_classification" if task == CLASSIFY else None,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            **(loading or {}),
        )
    fourbit.mended(model)
    new = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    tuned = encoders.sidecar(source, "sentence_bert_config.json")
    if tuned or any("pooler" in key for key in new):
        new |= _plain_pooler(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise UserError(f"the tokenizer of {name!r} has no padding token; take another model")
    model.config.pad_token_id = tokenizer.pad_token_id
    length = context_length(
        tokenizer, model.config, max_length, tuned.get("max_seq_length"), added_tokens
    )
    tokenizer.model_max_length = length
    return Base(model, tokenizer, length, frozenset(new), source, name, task)


def learn(
    start: Base,
    how: How,
    settings: Tuning,
    found: Examples,
    context: Context,
    meter: Meter,
) -> Learnt:
    """Train a base on examples by a method.

    Raises:
        Interrupted, UserError: as `backends.training.trainer.train`.
    """
    settled = with_defaults(settings, how, len(found.train))
    model = how.prepare(start)
    rows, truncated = _rows(start, found.train, found.classes)
    validation = None
    if found.validation is not None:
        validation, _ = _rows(start, found.validation, found.classes)
    trained = trainer.train(
        model,
        groups(model, start.new, settled),
        Lesson(
            rows,
            class_loss(settings, rows, len(found.classes)),
            start.tokenizer.pad_token_id,
            validation,
            _accuracy,
        ),
        settled,
        context,
        meter,
    )
    model.eval()
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counts = {
        "truncated": truncated,
        "max_length": start.max_length,
        "steps": trained.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": learning,
    }
    return Learnt(model, start, trained, settled, counts)


def passes(settings: Tuning, own: float, rows: int) -> float:
    """Passes over so many rows: as the user says, or a method's own, and more over few.

    What fails with few is mostly stopped too early (https://arxiv.org/abs/2006.05987, section 6).
    """
    batch = settings.micro_batch * settings.accumulation
    return settings.epochs or max(own, min(MOST_EPOCHS, STEPS * batch / rows))


def with_defaults(settings: Tuning, how: How, rows: int) -> Any:
    """The settings with the method's own rates and epochs where the user set none."""
    return msgspec.structs.replace(
        settings,
        learning_rate=settings.learning_rate or how.learning_rate,
        head_learning_rate=settings.head_learning_rate or how.head_learning_rate,
        epochs=passes(settings, how.epochs, rows),
        optimizer=settings.optimizer or how.optimizer,
    )


def blocks(model: Any) -> Sequence[Any]:
    """The layers of a transformer, first to last: its longest list of modules."""
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]
    if not lists:
        raise UserError(f"no layers found in a {type(model).__name__}; use train: all")
    longest: Sequence[Any] = max(lists, key=len)
    return longest


def _plain_pooler(model: Any) -> set[str]:
    """Let a BERT-like pooler that its training never used pass its input on.

    Sentence encoders are tuned on the mean of the token vectors, so the pooler in their file is
    a leftover; from the identity the head learns at once (measured on banking77: 0.90 after
    one epoch instead of 0.83).
    """
    reset = set()
    for name, module in model.named_modules():
        dense = getattr(module, "dense", None)
        if not name.endswith("pooler") or not isinstance(dense, torch.nn.Linear):
            continue
        if dense.in_features == dense.out_features:
            torch.nn.init.eye_(dense.weight)
            torch.nn.init.zeros_(dense.bias)
            reset |= {f"{name}.dense.weight", f"{name}.dense.bias"}
    return reset


def _rows(
    start: Base, rows: Iterable[Any], classes: Sequence[str]
) -> tuple[list[dict[str, Any]], int]:
    listed = list(rows)
    ids, truncated = tokens(start.tokenizer, (row.text for row in listed), start.max_length)
    number = {label: place for place, label in enumerate(classes)}
    return [
        {"input_ids": found, "labels": number[row.label], "line": row.line}
        for found, row in zip(ids, listed, strict=True)
    ], truncated


def groups(model: Any, new: frozenset[str], settings: Tuning) -> list[Mapping[str, Any]]:
    """Parameters that learn, by rate and decay: new ones go faster; vectors do not decay."""
    found: dict[tuple[bool, bool], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            fresh = _plain_name(name) in new
            found.setdefault((fresh, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.head_learning_rate if fresh else settings.learning_rate,
            "weight_decay": settings.weight_decay if matrix else 0.0,
        }
        for (fresh, matrix), parameters in sorted(found.items(), key=lambda item: item[0])
    ]


def _plain_name(name: str) -> str:
    """A parameter's name without what PEFT wraps around it."""
    return name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")


def class_loss(
    settings: Tuning, rows: Sequence[Mapping[str, Any]], classes: int
) -> Callable[..., torch.Tensor]:
    """The mean loss over a whole step, however it is cut into micro-batches.

    With balanced weights each class counts as if it had the mean number of rows.
    """
    weight_C: torch.Tensor | None = None
    if settings.class_weights == "balanced":
        counts = torch.bincount(torch.tensor([row["labels"] for row in rows]), minlength=classes)
        weight_C = len(rows) / (classes * counts.clamp_min(1).float())

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        summed = torch.nn.functional.cross_entropy(
            outputs.logits.float(),
            labels,
            weight=None if weight_C is None else weight_C.to(labels.device),
            reduction="sum",
        )
        return summed / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return loss


def _accuracy(said: Any) -> dict[str, float]:
    return {"accuracy": float((said.predictions.argmax(-1) == said.label_ids).mean())}
