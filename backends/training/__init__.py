"""The one place where a trainer is configured: settings here, the machinery behind `trainer`.

This face is light; `backends.training.trainer` imports torch and transformers.
"""

import os
from typing import Annotated, Literal

from msgspec import Meta, Struct

# torch asks for it before its first tensor: large ones then lie in large pages. Each step gets and
# gives back what it computed; in pages of 4 KB that is up to a third of its time on a processor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

Count = Annotated[int, Meta(ge=1)]


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """What every training method can set; the names of other trainers are in `ALIASES`."""

    learning_rate: (
        Annotated[float, Meta(gt=0, le=1, description="peak learning rate; none: the method's own")]
        | None
    ) = None
    find_learning_rate: Annotated[
        bool,
        Meta(
            description="try rising rates on the first batches, and take the one at which the "
            "loss falls fastest"
        ),
    ] = False
    epochs: (
        Annotated[
            float, Meta(gt=0, le=1000, description="passes over the data; none: the method's")
        ]
        | None
    ) = None
    max_steps: (
        Annotated[int, Meta(ge=1, description="optimizer steps; overrides epochs")] | None
    ) = None
    micro_batch: Annotated[Count, Meta(description="examples a device sees at once")] = 32
    accumulation: Annotated[Count, Meta(description="micro-batches summed into one step")] = 1
    warmup: Annotated[
        float, Meta(ge=0, description="below 1: share of all steps with a rising rate; else steps")
    ] = 0.1
    schedule: Annotated[
        Literal["linear", "cosine", "wsd", "constant", "constant_with_warmup"],
        Meta(
            description="how the learning rate falls after the warm-up; wsd: it stays, and falls "
            "over the last decay_share of the steps"
        ),
    ] = "linear"
    decay_share: Annotated[
        float, Meta(gt=0, le=1, description="share of all steps over which wsd falls")
    ] = 0.2
    optimizer: (
        Annotated[
            Literal["adamw", "adamw-8bit", "paged-adamw-8bit"],
            Meta(description="8-bit: its states in a quarter of the memory; none: the method's"),
        ]
        | None
    ) = None
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="AdamW's decay of matrices")] = 0.01
    beta2: Annotated[float, Meta(gt=0, lt=1, description="AdamW's memory of squared gradients")] = (
        0.999
    )
    max_grad_norm: Annotated[
        float, Meta(gt=0, description="gradients are scaled down to this norm")
    ] = 1.0
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | bool,
        Meta(description="arithmetic of matrix products; auto: bf16 where the device computes it"),
    ] = "auto"
    checkpointing: Annotated[
        bool, Meta(description="recompute activations in the backward pass: less memory, slower")
    ] = False
    max_length: (
        Annotated[int, Meta(ge=4, description="tokens kept of a text; none: what the model takes")]
        | None
    ) = None
    save_steps: (
        Annotated[int, Meta(ge=1, description="steps between checkpoints; none: once an epoch")]
        | None
    ) = None
    save_total_limit: Annotated[int, Meta(ge=2, description="checkpoints kept")] = 2
    logging_steps: Annotated[Count, Meta(description="steps between lines of metrics.jsonl")] = 10
    validation_share: (
        Annotated[
            float,
            Meta(
                gt=0, lt=0.9, description="share of the training rows set aside for early stopping"
            ),
        ]
        | None
    ) = None
    patience: (
        Annotated[
            int,
            Meta(ge=1, description="evaluations without a better accuracy before training stops"),
        ]
        | None
    ) = None
    seed: Annotated[int, Meta(ge=0, description="overrides the plan's seed")] | None = None


ALIASES = {
    "optim": "optimizer",
    "auto_lr_find": "find_learning_rate",
    "adam_beta2": "beta2",
    "per_device_train_batch_size": "micro_batch",
    "micro_batch_size": "micro_batch",
    "gradient_accumulation_steps": "accumulation",
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "lr_scheduler_type": "schedule",
    "lr_scheduler": "schedule",
    "bf16": "precision",
    "activation_checkpointing": "checkpointing",
    "gradient_checkpointing": "checkpointing",
    "max_seq_length": "max_length",
    "sequence_len": "max_length",
    "cutoff_len": "max_length",
    "seq_len": "max_length",
    "early_stopping_patience": "patience",
    "val_set_size": "validation_share",
    "model_max_length": "max_length",
}
