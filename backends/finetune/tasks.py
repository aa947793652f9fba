"""What a model is tuned to do, by the names that PEFT has for it."""

from collections.abc import Mapping
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from backends import data, weights
from backends.base import Step
from backends.data import Labelled
from backends.training import silence
from knowledge.errors import UserError

CLASSIFY, ANSWER, REWRITE = "SEQ_CLS", "CAUSAL_LM", "SEQ_2_SEQ_LM"
MODELS: Mapping[str, Any] = {
    CLASSIFY: AutoModelForSequenceClassification,
    ANSWER: AutoModelForCausalLM,
    REWRITE: AutoModelForSeq2SeqLM,
}


def labelled(step: Step) -> bool:
    """Whether a step's training data are texts with labels, so that it makes a classifier.

    Raises:
        UserError: it names no training file, or an unreadable one.
    """
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no training file; set data: {{train: FILE}}")
    rows = data.read(step.data.train, step.data.shape, step.data.columns).rows
    return bool(rows) and isinstance(rows[0], Labelled)


def answering(source: str, name: str) -> str:
    """How the model at a path answers: as a decoder alone, or as an encoder with a decoder."""
    silence.quiet()
    with weights.loading(name):
        config = AutoConfig.from_pretrained(source)
    return REWRITE if config.is_encoder_decoder else ANSWER
