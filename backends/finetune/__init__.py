"""Text classification by tuning an encoder: its head only, its last layers, or all of it."""

from typing import Annotated, Literal

from msgspec import Meta

from backends.base import Backend
from backends.training import ALIASES as TRAINING_ALIASES
from backends.training import Training


class Classification(Training, frozen=True, forbid_unknown_fields=True):
    """What every method that tunes a classifier can set."""

    head_learning_rate: (
        Annotated[float, Meta(gt=0, le=1, description="for the new head; none: the method's own")]
        | None
    ) = None
    test_share: Annotated[
        float,
        Meta(gt=0, lt=0.9, description="share of the rows scored on when there is no test file"),
    ] = 0.2
    compare: Annotated[
        bool, Meta(description="also score a linear head on the frozen encoder, for comparison")
    ] = True


class Settings(Classification, frozen=True, forbid_unknown_fields=True):
    """Settings of `head-ft`."""

    train: Annotated[
        Literal["head", "last-k", "all"],
        Meta(description="head: encoder frozen; last-k: its last layers too; all: everything"),
    ] = "head"
    last_k: Annotated[int, Meta(ge=1, description="encoder layers that learn with last-k")] = 2


ALIASES = {**TRAINING_ALIASES, "head_lr": "head_learning_rate", "finetuning_type": "train"}

BACKEND = Backend(
    name="finetune",
    module="backends.finetune.job",
    settings=Settings,
    aliases=ALIASES,
    needs=("torch", "transformers", "accelerate", "safetensors", "tokenizers"),
)
