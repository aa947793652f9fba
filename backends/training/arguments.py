"""What every trainer built on transformers' takes: its arguments, its steps, its optimizer."""

import math
from pathlib import Path
from typing import Any

import torch

from backends.training import Training, precision
from knowledge.errors import UserError


def steps_per_epoch(rows: int, settings: Training) -> int:
    """Optimizer steps of one pass over the rows, the last one perhaps on fewer."""
    return math.ceil(math.ceil(rows / settings.micro_batch) / settings.accumulation)


def total_steps(rows: int, settings: Training) -> int:
    """Optimizer steps of the whole training."""
    if settings.max_steps is not None:
        return settings.max_steps
    return max(1, math.ceil((settings.epochs or 1.0) * steps_per_epoch(rows, settings)))


def save_steps(rows: int, settings: Training) -> int:
    """Optimizer steps between checkpoints."""
    return settings.save_steps or steps_per_epoch(rows, settings)


def arguments(rows: int, settings: Training, folder: Path, chance: int) -> dict[str, Any]:
    """What every trainer built on transformers' takes, for so many rows."""
    on_gpu = precision.device() == "cuda"
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": settings.micro_batch,
        "per_device_eval_batch_size": 2 * settings.micro_batch,
        "gradient_accumulation_steps": settings.accumulation,
        "max_steps": total_steps(rows, settings),
        "learning_rate": settings.learning_rate,
        **_schedule(settings, total_steps(rows, settings)),
        "warmup_steps": settings.warmup,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": precision.bf16(settings.precision),
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "activation_checkpointing": settings.checkpointing,
        "remove_unused_columns": False,
        "seed": chance,
        "logging_steps": settings.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": save_steps(rows, settings),
        "save_total_limit": settings.save_total_limit,
        "disable_tqdm": True,
        "report_to": "none",
        "log_level": "error",
        "log_level_replica": "error",
    }


def _schedule(settings: Training, steps: int) -> dict[str, Any]:
    """The trainer's names for a schedule."""
    if settings.schedule != "wsd":
        return {"lr_scheduler_type": settings.schedule}
    falling = max(1, round(settings.decay_share * steps))
    return {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": falling, "decay_type": "linear"},
    }


def optimizer(groups: list[dict[str, Any]], settings: Training) -> Any:
    """AdamW, as torch has it or with its states in eight bits.

    Raises:
        UserError: the latter need bitsandbytes, and it is not installed.
    """
    betas = (0.9, settings.beta2)
    if settings.optimizer in (None, "adamw"):
        return torch.optim.AdamW(
            groups, betas=betas, weight_decay=settings.weight_decay, fused=True
        )
    try:
        from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit  # slow, and seldom wanted
    except ImportError:
        raise UserError(
            f"optimizer: {settings.optimizer} needs bitsandbytes; "
            "install it with: pip install 'llm-advisor[quant]'"
        ) from None
    # A CPU has nothing to page to: bitsandbytes would say so and do without.
    paged = settings.optimizer == "paged-adamw-8bit" and precision.device() == "cuda"
    kind = PagedAdamW8bit if paged else AdamW8bit
    return kind(groups, betas=betas, weight_decay=settings.weight_decay)
