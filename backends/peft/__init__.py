"""Text classification with a LoRA adapter: the encoder stays, small matrices beside it learn."""

from typing import Annotated

from msgspec import Meta

from backends.base import Backend
from backends.finetune import ALIASES as CLASSIFICATION_ALIASES
from backends.finetune import Classification


class Settings(Classification, frozen=True, forbid_unknown_fields=True):
    """Settings of `lora`."""

    rank: Annotated[int, Meta(ge=1, le=4096, description="rank of the update of each matrix")] = 16
    alpha: (
        Annotated[
            float, Meta(gt=0, description="the update is scaled by alpha/rank; none: 2 x rank")
        ]
        | None
    ) = None
    dropout: Annotated[float, Meta(ge=0, lt=1, description="of the adapter's input")] = 0.05
    targets: Annotated[
        str | tuple[str, ...],
        Meta(description="matrices with an adapter: all-linear, or names such as query,value"),
    ] = "all-linear"
    rslora: Annotated[
        bool, Meta(description="scale by alpha/sqrt(rank), which keeps high ranks learning")
    ] = False
    dora: Annotated[bool, Meta(description="learn the norm of each column apart")] = False


ALIASES = {
    **{key: name for key, name in CLASSIFICATION_ALIASES.items() if name != "train"},
    "r": "rank",
    "lora_r": "rank",
    "lora_rank": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "lora_target": "targets",
    "lora_target_modules": "targets",
    "lora_targets": "targets",
    "use_rslora": "rslora",
    "use_dora": "dora",
}

BACKEND = Backend(
    name="peft",
    module="backends.peft.job",
    settings=Settings,
    aliases=ALIASES,
    needs=("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers"),
)
