"""Models made ready for a method, on the meta device: adapters, heads, checkpointing."""

import re
import warnings
from functools import partial
from typing import Any

import peft
import torch
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts

from backends.dryrun import Request
from backends.dryrun.models import depth, on_meta
from backends.dryrun.watch import stacks
from knowledge.errors import UserError
from knowledge.methods import Method

ROLES = {
    "q": r"q|query|q_lin|wq|q_a|q_b|SelfAttention\.q|EncDecAttention\.q",
    "k": r"k|key|k_lin|wk|kv_a_with_mqa",
    "v": r"v|value|v_lin|wv|kv_b",
    "o": r"o|out|dense|c|out_lin|wo",
}
aten = torch.ops.aten
KEPT = (
    aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
)  # fmt: skip
"""What selective checkpointing does not recompute."""
FUSED = r"c_attn|query_key_value|qkv|Wqkv|W_pack|wqkv"


def headed(request: Request, found: Any) -> nn.Module:
    """A classifier: its head trains, with the last blocks or all of them."""
    model = on_meta(request, found, classes=request.classes)
    if request.train == "all":
        return model
    model.base_model.requires_grad_(False)  # type: ignore[operator, union-attr]
    if request.train == "last-k":
        for blocks in stacks(model, depth(found).layers)[-1:]:
            for block in list(blocks)[-request.last_k :]:
                block.requires_grad_(True)
    return model


def adapted(request: Request, model: nn.Module, method: Method) -> nn.Module:
    """The model with a method's adapter.

    Raises:
        UserError: no such adapter, or it does not go with the model.
    """
    rank = request.lora_rank or int(method.defaults.get("rank", 16))
    if method.id != "lora":
        raise UserError(f"the method {method.id!r} cannot be traced yet; leave out --trace")
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets(model, request.lora_targets or method.targets),
    )
    return put(request, model, config)


def put(request: Request, model: nn.Module, config: peft.PeftConfig) -> nn.Module:
    """PEFT's adapter on a model; PEFT holds adapters of 16-bit models in fp32 unless told."""
    upcast = request.adapter_dtype in (None, "fp32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return peft.get_peft_model(
                model, config, autocast_adapter_dtype=upcast, low_cpu_mem_usage=True
            )
        except (ValueError, TypeError, NotImplementedError, KeyError, AttributeError) as error:
            line = " ".join(str(error).split())[:200]
            raise UserError(f"PEFT refuses {request.method!r} here: {line}") from error


def targets(model: nn.Module, words: str) -> list[str]:
    """Full names of the linears that words mean: q,v or all-linear or names of modules."""
    linears = [name for name, module in model.named_modules() if _linear(module)]
    inside = [name for name in linears if re.search(r"\.\d+\.", name)]
    chosen: list[str] = []
    for word in (w.strip() for w in words.split(",") if w.strip()):
        found = _meant(word, inside, linears)
        if not found:
            leaves = ", ".join(sorted({name.rpartition(".")[2] for name in inside}))
            raise UserError(f"no linear layer is a {word!r}; there are {leaves}")
        chosen += found
    return list(dict.fromkeys(chosen))


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _is_attention(name: str) -> bool:
    return bool(re.search(r"attn|attention", name, re.IGNORECASE))


def _meant(word: str, inside: list[str], linears: list[str]) -> list[str]:
    if word in ("all-linear", "all", "attention-and-mlp"):
        return [name for name in inside if not re.search(r"(router|\.gate)$", name)]
    if word in ("attention", "self_attn", "attn"):
        return [name for name in inside if _is_attention(name)]
    if word in ("mlp", "ffn"):
        return [name for name in inside if not _is_attention(name)]
    exact = [name for name in linears if name == word or name.endswith(f".{word}")]
    if exact:
        return exact
    bare = word.removesuffix("_proj")
    pattern = re.compile(rf"(^|\.)({ROLES.get(bare, re.escape(bare))})(_proj|_linear)?$")
    attention = bare in ROLES
    found = [n for n in inside if pattern.search(n) and _is_attention(n) == attention]
    if not found and bare in ("q", "k", "v", "qkv"):
        found = [n for n in inside if re.search(rf"(^|\.)({FUSED})(_proj)?$", n)]
    return found


def checkpointed(request: Request, model: nn.Module) -> None:
    """Turn on what transformers has for recomputing activations.

    `selective` keeps matrix products and attention and recomputes what is cheap, as torchtitan's
    operator lists do; `full-offloaded` holds the blocks' inputs in host memory.

    Raises:
        UserError: the model's code does not support it.
    """
    if request.checkpointing == "none":
        return
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    how: dict[str, Any] = {"use_reentrant": False}
    if request.checkpointing == "selective":
        how["context_fn"] = partial(create_selective_checkpoint_contexts, list(KEPT))
    try:
        base.activation_checkpointing_enable(how, offload=request.checkpointing == "full-offloaded")
    except ValueError as error:
        raise UserError(str(error)) from error
