"""Few labels: texts of one class are drawn together and others apart, then a head is fitted.

As SetFit (https://arxiv.org/abs/2209.11055) does, with the supervised contrastive loss over whole
batches (https://arxiv.org/abs/2004.11362) in the place of sampled pairs.

Shapes: B texts of a batch, H hidden.
"""

from typing import Any, NamedTuple

import msgspec
import torch

from backends.base import Context, Pace
from backends.finetune import Tuning, frozen
from backends.finetune.examples import Examples, tokens
from backends.training import trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson, Trained

TEMPERATURE = 0.1  # of the similarities, as in the second paper
LEARNING_RATE = 5e-5
EPOCHS = 8.0
STEPS = 60  # at least, where there are but few texts
LEAST = 64  # texts in a batch, so that most find another of their class


class Learnt(NamedTuple):
    """The classifier, how the encoder's training went, and the settings with defaults filled."""

    head: frozen.Head
    trained: Trained
    settings: Tuning


def learn(
    source: str, name: str, found: Examples, settings: Tuning, context: Context, meter: Meter
) -> Learnt:
    """An encoder tuned by contrast and a head on it.

    Raises:
        Interrupted, UserError: as `backends.training.trainer.train`.
    """
    settled: Tuning = msgspec.structs.replace(
        settings,
        learning_rate=settings.learning_rate or LEARNING_RATE,
        patience=None,
        **pace(settings, len(found.train))._asdict(),
    )
    model, tokenizer, length = frozen.loaded(source, name, settled)
    ids, _ = tokens(tokenizer, (row.text for row in found.train), length)
    number = {label: place for place, label in enumerate(found.classes)}
    rows = [
        {"input_ids": some, "labels": number[row.label], "line": row.line}
        for some, row in zip(ids, found.train, strict=True)
    ]
    model.requires_grad_(True)
    groups = [{"params": list(model.parameters()), "lr": settled.learning_rate}]
    lesson = Lesson(rows, contrast, tokenizer.pad_token_id or 0)
    trained = trainer.train(model, groups, lesson, settled, context, meter)
    model.requires_grad_(False).eval()
    head = frozen.headed(model, tokenizer, length, found, settled, context)
    return Learnt(head, trained, settled)


def pace(settings: Tuning, rows: int) -> Pace:
    """How so many rows are gone over."""
    batch = max(LEAST, settings.micro_batch)
    return Pace(settings.epochs or max(EPOCHS, STEPS * batch / rows), batch)


def contrast(
    vectors_BH: Any, labels_B: torch.Tensor, num_items_in_batch: Any = None
) -> torch.Tensor:
    """The supervised contrastive loss of a batch: each text is to be nearest to its class.

    Texts without another of their class in the batch only push others away.
    """
    unit_BH = torch.nn.functional.normalize(vectors_BH.float(), dim=-1)
    itself_BB = torch.eye(len(unit_BH), dtype=torch.bool, device=unit_BH.device)
    near_BB = (unit_BH @ unit_BH.T / TEMPERATURE).masked_fill(itself_BB, -1e9)
    share_BB = near_BB.log_softmax(-1)
    alike_BB = (labels_B[:, None] == labels_B[None]) & ~itself_BB
    count_B = alike_BB.sum(-1)
    loss_B = -(share_BB * alike_BB).sum(-1) / count_B.clamp_min(1)
    return loss_B.sum() / (len(labels_B) if num_items_in_batch is None else num_items_in_batch)
