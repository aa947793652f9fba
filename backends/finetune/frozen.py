"""`train: head`: the encoder stays as it is, a linear head is fitted on its vectors.

Texts are encoded once, so this is as quick as reading them; no trainer is needed.
"""

from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer

from backends import weights
from backends.base import Context
from backends.finetune import Tuning, encoders, linear
from backends.finetune.classifiers import Classifier
from backends.finetune.encoders import PooledEncoder
from backends.finetune.examples import Examples, context_length, tokens
from backends.training import precision, silence, trainer


class Head(NamedTuple):
    """A classifier with a fitted head, how many texts were cut, and the L2 strength taken."""

    classifier: Classifier
    truncated: int
    strength: float


def fitted(source: str, name: str, found: Examples, settings: Tuning, context: Context) -> Head:
    """The encoder at a path or hub id with a head fitted to the training rows.

    Args:
        source: what `from_pretrained` takes; `name` is what the user calls it.
        settings: of which length, precision and seed matter here.
    """
    return headed(*loaded(source, name, settings), found, settings, context)


def loaded(source: str, name: str, settings: Tuning) -> tuple[PooledEncoder, Any, int]:
    """An encoder that gives a vector for each text, its tokenizer, and the tokens it reads."""
    silence.quiet()
    with weights.loading(name):
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
    model = encoders.load(source, name)
    length = context_length(
        tokenizer,
        model.encoder.config,
        settings.max_length,
        encoders.sidecar(source, "sentence_bert_config.json").get("max_seq_length"),
    )
    return model, tokenizer, length


def headed(
    model: PooledEncoder,
    tokenizer: Any,
    length: int,
    found: Examples,
    settings: Tuning,
    context: Context,
) -> Head:
    """The encoder with a head fitted to the training rows."""
    ids, truncated = tokens(tokenizer, (row.text for row in found.train), length)
    vectors = encoders.vectors(
        model,
        ids,
        tokenizer.pad_token_id or 0,
        context,
        "encoding",
        bf16=precision.bf16(settings.precision),
    )
    number = {label: place for place, label in enumerate(found.classes)}
    labels = torch.tensor([number[row.label] for row in found.train])
    fit = linear.fit(vectors, labels, len(found.classes), trainer.seed(context, settings))
    model.head = torch.nn.Linear(vectors.shape[1], len(found.classes))
    model.head.load_state_dict({"weight": fit.weight, "bias": fit.bias})
    model.head.requires_grad_(False).to(precision.device())
    model.encoder.config.id2label = dict(enumerate(found.classes))
    model.encoder.config.label2id = number
    return Head(Classifier(model, tokenizer, found.classes, length), truncated, fit.strength)
