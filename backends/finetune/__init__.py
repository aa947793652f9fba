"""Tuning a model's own weights: its head only, its last layers, or all of it.

The data say what is learnt: texts with labels make a classifier, prompts with answers and
conversations make a model that answers.
"""

from typing import Annotated, Literal

from msgspec import Meta

from backends.base import Backend
from backends.training import ALIASES as TRAINING_ALIASES
from backends.training import Training


class Tuning(Training, frozen=True, forbid_unknown_fields=True):
    """What every method that tunes a model can set."""

    head_learning_rate: (
        Annotated[float, Meta(gt=0, le=1, description="for the new head; none: the method's own")]
        | None
    ) = None
    test_share: Annotated[
        float,
        Meta(gt=0, lt=0.9, description="share of the rows scored on when there is no test file"),
    ] = 0.2
    compare: Annotated[
        bool,
        Meta(
            description="also score what tuning is to beat: a linear head on the frozen encoder, "
            "or the model as it was"
        ),
    ] = True
    labels_from: (
        Annotated[
            str,
            Meta(
                description="step:NAME or the folder of a run whose model labels the training "
                "texts first (distillation)"
            ),
        ]
        | None
    ) = None
    class_weights: Annotated[
        Literal["none", "balanced"],
        Meta(description="balanced: rare classes count as much as common ones"),
    ] = "none"
    abstain_below: (
        Annotated[
            float, Meta(gt=0, lt=1, description="a classifier less sure than this gives no label")
        ]
        | None
    ) = None
    deliver: Annotated[
        Literal["full", "int8", "int4"],
        Meta(description="also write the model with its matrices in fewer bits, and compare"),
    ] = "full"
    push: (
        Annotated[str, Meta(description="OWNER/NAME of the hub to upload the artefact to, private")]
        | None
    ) = None
    packing: Annotated[
        bool, Meta(description="several short conversations in one row, blind to each other")
    ] = True
    learn: Annotated[
        Literal["answers", "everything"],
        Meta(description="the tokens of a conversation that are learnt; answers: prompts masked"),
    ] = "answers"
    overlong: Annotated[
        Literal["truncate", "split", "drop"],
        Meta(description="what becomes of conversations longer than max_length"),
    ] = "truncate"
    answer_tokens: (
        Annotated[int, Meta(ge=1, description="longest answer written; none: the longest learnt")]
        | None
    ) = None
    compare_shots: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="training examples shown to the model as it was, for the comparison with "
            "prompting it",
        ),
    ] = 4
    against: (
        Annotated[
            str,
            Meta(
                description="step:NAME or the folder of a prompt run on the same test rows, to "
                "compare a classifier with"
            ),
        ]
        | None
    ) = None
    answers_scored: Annotated[
        int, Meta(ge=0, description="test rows answered in full, besides the loss on all of them")
    ] = 100


class Settings(Tuning, frozen=True, forbid_unknown_fields=True):
    """Settings of `head-ft` and `full-ft` (which trains all)."""

    train: Annotated[
        Literal["head", "last-k", "all", "contrastive"],
        Meta(
            description="head: encoder frozen; last-k: its last layers too; all: everything; "
            "contrastive: texts of a class drawn together first, for few labels"
        ),
    ] = "head"
    last_k: Annotated[int, Meta(ge=1, description="encoder layers that learn with last-k")] = 2


ALIASES = {
    "quantize": "deliver",
    "teacher": "labels_from",
    "hub_model_id": "push",
    **TRAINING_ALIASES,
    "head_lr": "head_learning_rate",
    "finetuning_type": "train",
    "max_new_tokens": "answer_tokens",
}

BACKEND = Backend(
    name="finetune",
    module="backends.finetune.job",
    settings=Settings,
    aliases=ALIASES,
    needs=("torch", "transformers", "accelerate", "safetensors", "tokenizers"),
    paths=("against", "labels_from"),
)
