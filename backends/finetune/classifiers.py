"""A finished classifier, whatever made it: texts in, labels with confidences out.

Shapes: N texts, C classes.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backends import evaluate, weights
from backends.base import Context, Metric, Prediction
from backends.data import Labelled
from backends.finetune import encoders
from backends.finetune.examples import tokens
from backends.training import fourbit, precision, silence

SUREST = 0.9
ABSTAIN = "abstain.json"
AT_ONCE = 2048  # texts sorted by length together, so that predictions can stream


class Logits(torch.nn.Module):
    """A transformers classifier seen as a map from `input_ids` and `attention_mask` to logits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


class Classifier(NamedTuple):
    """A model of logits with what it needs: tokenizer, labels by number, tokens it reads."""

    model: torch.nn.Module
    tokenizer: Any
    labels: Sequence[str]
    max_length: int
    abstain_below: float = 0.0

    def logits(self, texts: Iterable[str], context: Context | None = None) -> torch.Tensor:
        """The logits of each text [N, C], in fp32 as the libraries compute them."""
        ids, _ = tokens(self.tokenizer, texts, self.max_length)
        return encoders.vectors(
            self.model, ids, self.tokenizer.pad_token_id or 0, context, "scoring"
        )

    def answers(
        self, texts: Sequence[str], context: Context | None = None
    ) -> tuple[list[str], list[float]]:
        """The label of each text and its probability."""
        if not texts:
            return [], []
        best = self.logits(texts, context).softmax(-1).max(-1)
        return [self.labels[number] for number in best.indices.tolist()], best.values.tolist()

    def predictions(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """What is said to each text, in order, while texts still come."""
        stream = iter(texts)
        while some := list(islice(stream, AT_ONCE)):
            for text, label, sure in zip(some, *self.answers(some), strict=True):
                if sure < self.abstain_below:
                    yield Prediction(text=text, confidence=sure, abstained=True)
                else:
                    yield Prediction(text=text, label=label, confidence=sure)

    def metrics(
        self, rows: Sequence[Labelled], context: Context | None = None
    ) -> tuple[dict[str, Metric], list[str]]:
        """Metrics on labelled rows, and the labels that were predicted.

        `selective_accuracy` is the accuracy where the surest nine tenths are answered and the
        rest is left to people; with `abstain_below`, `answered` is the share that it answers and
        `answered_accuracy` how often rightly.
        """
        said, sure = self.answers([row.text for row in rows], context)
        labels = [row.label for row in rows]
        found = evaluate.classification(labels, said, sure)
        right = [a == b for a, b in zip(said, labels, strict=True)]
        surest = sorted(range(len(rows)), key=lambda n: -sure[n])[: math.ceil(SUREST * len(rows))]
        found["selective_accuracy"] = evaluate.share(sum(right[n] for n in surest), len(surest))
        if self.abstain_below:
            answered = [n for n in range(len(rows)) if sure[n] >= self.abstain_below]
            found["answered"] = evaluate.share(len(answered), len(rows))
            if answered:
                hits = sum(right[n] for n in answered)
                found["answered_accuracy"] = evaluate.share(hits, len(answered))
        return found, said


def abstain(folder: Path, below: float | None) -> None:
    """Keep beside a model how sure it must be to answer."""
    if below is not None:
        (folder / ABSTAIN).write_bytes(msgspec.json.encode({"below": below}))


def abstaining(folder: Path) -> float:
    """How sure the classifier in a folder must be to answer; 0 where it always does."""
    path = folder / ABSTAIN
    return float(msgspec.json.decode(path.read_bytes())["below"]) if path.is_file() else 0.0


def labels_of(config: Any) -> list[str]:
    """The labels of a model's configuration by number."""
    return [str(config.id2label[number]) for number in range(len(config.id2label))]


def load(folder: Path) -> Classifier:
    """The classifier in a `model/` folder: an encoder with a head, or a tuned transformer.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    weights.refuse_unfinished(folder)
    silence.quiet()
    with weights.loading(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if (folder / encoders.HEAD).is_dir():
            model: Any = encoders.with_head(folder)
            config = model.encoder.config
        else:
            plain = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
            model = Logits(plain)
            fourbit.mended(model)
            model.requires_grad_(False).eval()
            if not getattr(model.model, "is_quantized", False):
                model.to(precision.device())
            config = model.model.config
    length = int(tokenizer.model_max_length)
    return Classifier(model, tokenizer, labels_of(config), length, abstaining(folder))
