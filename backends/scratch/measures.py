"""How well a model knows held-out text: loss, perplexity, bits for each byte."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from backends.base import Metric
from backends.scratch.corpora import Corpus
from backends.scratch.objectives import Batch, Objective, loss_of
from backends.scratch.stream import Shards, whole
from backends.training import precision
from backends.training.batches import IGNORED

LOOKED_AT = 2**14  # tokens of an evaluation on the way; at the end all are looked at
BETWEEN = 2**40  # masks of held-out text are drawn by numbers above this, always the same


class Held(NamedTuple):
    """Summed loss of held-out tokens [nats], and how many were to be said."""

    nats: float
    tokens: int

    @property
    def loss(self) -> float:
        """Nats for each token."""
        return self.nats / self.tokens


class Reader(NamedTuple):
    """How a model sees packed tokens: what it is to learn of them, and how many at once."""

    objective: Objective
    length: int
    rows: int

    def batch(self, rows: NDArray[np.int64], number: int) -> Batch:
        """What a model is given of packed tokens, where it computes."""
        inputs, labels = self.objective(rows, number)
        place = precision.device()
        return Batch({name: value.to(place) for name, value in inputs.items()}, labels.to(place))

    def loss(self, z: float) -> Callable[..., torch.Tensor]:
        """The loss of a batch, for training."""

        def of(
            model: Any, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor
        ) -> torch.Tensor:
            return loss_of(*said(model, inputs, labels), z)

        return of

    def held(self, model: Any, shards: Shards, most: int | None = None) -> Held:
        """The loss on held-out tokens, each said once; or on the first of them."""
        nats, tokens, seen = 0.0, 0, 0
        with torch.inference_mode():
            for rows in whole(shards, self.length, self.rows):
                if rows.shape[1] < 8 and tokens:
                    break
                logits, labels = said(model, *self.batch(rows, BETWEEN + seen))
                count = int((labels != IGNORED).sum())
                nats += float(loss_of(logits, labels)) * count
                tokens += count
                seen += rows[:, 1:].size
                if most is not None and seen >= most:
                    break
        return Held(nats, max(1, tokens))


def said(
    model: Any, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [..., V] beside the labels [...] that they are to foretell.

    An encoder's head is run on hidden tokens alone: for a small one it is half of the work. Not
    where it is compiled: their number would be another in every batch.
    """
    head = None if torch.compiler.is_compiling() else _head(model)
    if head is None:
        return model(**inputs).logits, labels
    body, of = head
    learnt = labels != IGNORED
    return of(body(**inputs).last_hidden_state[learnt]), labels[learnt]


def _head(model: Any) -> tuple[Any, Callable[[torch.Tensor], torch.Tensor]] | None:
    """The parts of an encoder that reads and that says, where they are known."""
    kind = model.config.model_type
    if kind == "bert":
        return model.bert, model.cls
    if kind == "modernbert":
        return model.model, lambda hidden: model.decoder(model.head(hidden))
    return None


def figures(reader: Reader, model: Any, found: Corpus, causal: bool) -> dict[str, Metric]:
    """Loss [nats per token] with its interval over windows, perplexity, and bits per byte.

    Bits per byte are of decoders only, and comparable whatever the tokenizer.
    """
    held = reader.held(model, found.held)
    metrics = {
        "loss": Metric(held.loss, n=held.tokens),
        "perplexity": Metric(math.exp(min(held.loss, 700.0)), n=held.tokens),
    }
    if causal:
        bits = held.nats / math.log(2) / max(1, found.held_bytes)
        metrics["bits_per_byte"] = Metric(bits, n=found.held_bytes)
    return metrics
