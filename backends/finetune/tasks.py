"""What a model is tuned to do, by the names that PEFT has for it."""

from collections.abc import Mapping
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from backends import data, weights
from backends.base import Step
from backends.data import Labelled, Row, Tagged
from backends.training import silence
from knowledge.errors import UserError

CLASSIFY, ANSWER, REWRITE, TAG = "SEQ_CLS", "CAUSAL_LM", "SEQ_2_SEQ_LM", "TOKEN_CLS"
MODELS: Mapping[str, Any] = {
    CLASSIFY: AutoModelForSequenceClassification,
    ANSWER: AutoModelForCausalLM,
    REWRITE: AutoModelForSeq2SeqLM,
    TAG: AutoModelForTokenClassification,
}


def kind(step: Step) -> str:
    """What a step's training data teach: to `CLASSIFY` texts, to `TAG` parts of them, or `ANSWER`.

    Raises:
        UserError: it names no training file, or an unreadable one.
    """
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no training file; set data: {{train: FILE}}")
    rows = data.read(step.data.train, step.data.shape, step.data.columns).rows
    return taught(next(iter(rows), None))


def taught(row: Row | None) -> str:
    """What a row teaches, as `kind`."""
    if isinstance(row, Labelled):
        return CLASSIFY
    return TAG if isinstance(row, Tagged) else ANSWER


def answering(source: str, name: str) -> str:
    """How the model at a path answers: as a decoder alone, or as an encoder with a decoder."""
    silence.quiet()
    with weights.loading(name):
        config = AutoConfig.from_pretrained(source)
    return REWRITE if config.is_encoder_decoder else ANSWER
