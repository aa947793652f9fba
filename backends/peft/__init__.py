"""Few parameters beside a frozen base: LoRA and its kin, bottleneck adapters, soft prompts."""

from typing import Annotated, Literal

from msgspec import Meta

from backends.base import Backend
from backends.finetune import ALIASES as FINETUNE_ALIASES
from backends.finetune import Tuning


class Settings(Tuning, frozen=True, forbid_unknown_fields=True):
    """Settings of every method of the backend; each method refuses those that are not its own."""

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
    merge: Annotated[
        bool, Meta(description="also write the base with the adapter merged into it, as model/")
    ] = False
    quant_type: Annotated[
        Literal["nf4", "fp4"], Meta(description="the four-bit numbers that hold the base")
    ] = "nf4"
    double_quant: Annotated[
        bool, Meta(description="hold the scales of the four-bit numbers in eight bits as well")
    ] = True
    width: Annotated[int, Meta(ge=1, le=65536, description="width of each bottleneck")] = 64
    after: (
        Annotated[
            Literal["attention", "feed-forward", "both"],
            Meta(description="the sublayers with a bottleneck; none: the method's own"),
        ]
        | None
    ) = None
    layers: (
        Annotated[tuple[int, ...], Meta(description="blocks with a bottleneck, from 0; none: all")]
        | None
    ) = None
    activation: Annotated[
        Literal["relu", "gelu", "silu"], Meta(description="inside each bottleneck")
    ] = "relu"
    scale: (
        Annotated[
            float, Meta(gt=0, description="factor of a bottleneck's output; none: the method's own")
        ]
        | None
    ) = None
    tokens: Annotated[
        int,
        Meta(ge=1, le=4096, description="trained vectors before the input or each layer's keys"),
    ] = 20


ALIASES = {
    **{key: name for key, name in FINETUNE_ALIASES.items() if name != "train"},
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
    "num_virtual_tokens": "tokens",
    "virtual_tokens": "tokens",
    "bnb_4bit_quant_type": "quant_type",
    "bnb_4bit_use_double_quant": "double_quant",
    "adapter_width": "width",
    "bottleneck_size": "width",
    "non_linearity": "activation",
}

BACKEND = Backend(
    name="peft",
    module="backends.peft.job",
    settings=Settings,
    aliases=ALIASES,
    needs=("torch", "transformers", "accelerate", "peft", "safetensors", "tokenizers"),
)
