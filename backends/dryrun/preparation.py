"""Models made ready for a method, on the meta device: adapters, heads, checkpointing."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from backends.dryrun import Request
from backends.dryrun.bundle import bare
from backends.dryrun.models import depth, on_meta
from backends.dryrun.watch import stacks
from knowledge.errors import UserError

aten = torch.ops.aten
KEPT = (
    aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
)  # fmt: skip
"""What selective checkpointing does not recompute."""


def headed(request: Request, found: Any, layers: tuple[int, ...]) -> nn.Module:
    """A classifier: its head trains, with the last blocks or all of them."""
    model = on_meta(request, found, head=request.classes)
    if request.train == "all":
        return model
    model.base_model.requires_grad_(False)
    if request.train == "last-k":
        for blocks in stacks(model, layers)[-1:]:
            for block in list(blocks)[-request.last_k :]:
                block.requires_grad_(True)
    return model


def expanded(request: Request, found: Any, layers: tuple[int, ...], new: int) -> nn.Module:
    """LLaMA Pro: a model as deep as old and new blocks together, each group's last one new.

    Only new blocks train; one that starts as the identity takes no less than one that does not.
    """
    model = on_meta(request, found).requires_grad_(False)
    (blocks,) = stacks(model, layers)
    group = -(-(depth(request).layers[0]) // new)
    for block in list(blocks)[group - 1 :: group]:
        block.requires_grad_(True)
    return model


def checkpointed(request: Request, model: nn.Module) -> None:
    """Turn on what transformers has for recomputing activations.

    `selective` keeps matrix products and attention and recomputes what is cheap, as torchtitan's
    operator lists do; `full-offloaded` holds the blocks' inputs in host memory.

    Raises:
        UserError: the model's code does not support it.
    """
    if request.checkpointing == "none":
        return
    base = bare(model)
    how: dict[str, Any] = {"use_reentrant": False}
    if request.checkpointing == "selective":
        how["context_fn"] = partial(create_selective_checkpoint_contexts, list(KEPT))
    try:
        base.activation_checkpointing_enable(how, offload=request.checkpointing == "full-offloaded")
    except ValueError as error:
        raise UserError(str(error)) from error
