"""Attention of a model that is compiled on a processor, as products of matrices.

torch's own kernel for processors goes over each head by itself, and its backward pass reaches a
tenth of what matrix products in bf16 do. Compiled, the products and the softmax between them,
which is fused, take a third of its time, for the memory of the weights of all pairs of tokens.

Shapes: B rows, H heads, T tokens, D numbers of a head.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from backends.training import precision

NAME = "products"
USUAL = "sdpa"
LONGEST = 512  # tokens of a row; of longer ones the weights of all pairs take too much memory
BLOCK = 128  # queries that are taken at once: what a causal model does not see is left out


def settle(model: Any) -> None:
    """Let a model that is to be compiled attend in this way, where it can."""
    named = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if precision.device() == "cpu" and named == USUAL:
        model.set_attn_implementation(NAME)


def restore(model: Any) -> None:
    """Let it attend as it did before."""
    if getattr(getattr(model, "config", None), "_attn_implementation", None) == NAME:
        model.set_attn_implementation(USUAL)


def attended(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What each token takes from those it sees [B, T, H, D], as transformers asks for it.

    Outside of a compiled model, with a mask, with dropout and of long rows as torch does it.
    """
    length = query.shape[2]
    plain = attention_mask is None and not dropout and options.get("position_bias") is None
    if not torch.compiler.is_compiling() or not plain or length != key.shape[2] or length > LONGEST:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            is_causal=is_causal, **options,
        )  # fmt: skip
        return found
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = products(query, key, value, scale, causal=bool(causal))
    return out.transpose(1, 2).contiguous(), None


def products(
    query_BHTD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scale: float, *, causal: bool
) -> Tensor:
    """Attention [B, H, T, D] by matrix products, its scores and their softmax in fp32."""
    length = query_BHTD.shape[2]
    asking_BHTD, wide_BHTD = query_BHTD.float(), key_BHTD.float()
    parts = []
    for begin in range(0, length, BLOCK if causal else length):
        end = min(length, begin + BLOCK) if causal else length
        seen_BHDS = wide_BHTD[:, :, :end].transpose(2, 3)
        with precision.exactly():
            scores_BHQS = torch.matmul(asking_BHTD[:, :, begin:end], seen_BHDS) * scale
        if causal:
            asks, answers = (torch.arange(b, end, device=key_BHTD.device) for b in (begin, 0))
            hidden = asks[:, None] < answers[None]
            scores_BHQS = scores_BHQS.masked_fill(hidden, float("-inf"))
        weights_BHQS = torch.softmax(scores_BHQS, dim=-1).to(query_BHTD.dtype)
        parts.append(torch.matmul(weights_BHQS, value_BHTD[:, :, :end]))
    return torch.cat(parts, dim=2)


def mask(q_length: int, kv_length: int, **named: Any) -> Tensor | None:
    """What may not be seen, or nothing where `attended` knows it by itself.

    With torch before 2.14 transformers' own gives a mask in every compiled model; so does it where
    the model keeps no cache, as it cannot look whether the positions begin anew within a row.
    """
    near = named.get("local_size")
    known = named.get("allow_is_causal_skip", True) or named.get("allow_is_bidirectional_skip")
    if (
        torch.compiler.is_compiling()
        and known
        and named.get("attention_mask") is None
        and q_length == kv_length
        and (near is None or kv_length < near)
    ):
        return None
    found: Tensor | None = sdpa_mask(q_length=q_length, kv_length=kv_length, **named)
    return found


AttentionInterface.register(NAME, attended)
AttentionMaskInterface.register(NAME, mask)
