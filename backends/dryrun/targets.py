"""Which modules the words of a job mean: q,v or all-linear or names, on any model."""

import re
from typing import Final

from torch import nn

from knowledge.errors import UserError

ROLES: Final = {
    "q": r"(q|query|q_lin|wq|q_a|q_b)(_proj)?",
    "k": r"(k|key|k_lin|wk)(_proj)?|kv_a_proj_with_mqa",
    "v": r"(v|value|v_lin|wv|kv_b)(_proj)?",
    "o": r"(o|out|c|attn_out|dense|out_lin|wo)(_proj)?",
    "up": r"(up|up_proj|fc1|c_fc|dense_h_to_4h|wi|wi_1|lin1|fc_in|ffn|intermediate\.dense|Wi)",
    "down": r"(down|down_proj|fc2|c_proj|dense_4h_to_h|wo|Wo|lin2|fc_out|ffn_output|output\.dense)",
    "gate": r"(gate_proj|wi_0|w1)",
    "gate_up": r"(gate_up_proj|Wi)",
}
"""Last parts of the names of the linears that a role has in transformers' families."""
ATTENTION_ROLES: Final = ("q", "k", "v", "o")
FUSED: Final = r"c_attn|query_key_value|qkv|qkv_proj|Wqkv|W_pack|wqkv"


def modules(model: nn.Module, words: str) -> list[str]:
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
    """Whether a linear is part of attention; BERT's MLP is `output.dense` beside `attention`."""
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
    role = word.removesuffix("_proj")
    if role not in ROLES:
        return []
    pattern = re.compile(rf"(^|\.)({ROLES[role]})$")
    attention = role in ATTENTION_ROLES
    found = [n for n in inside if pattern.search(n) and _is_attention(n) == attention]
    if not found and role in ("q", "k", "v"):
        found = [n for n in inside if re.search(rf"(^|\.)({FUSED})$", n)]
    if not found and role in ("gate", "up"):
        return _meant("gate_up", inside, linears) if role != "gate_up" else []
    return found


def norms(model: nn.Module) -> list[str]:
    """Full names of the normalisation layers."""
    return [
        name
        for name, module in model.named_modules()
        if type(module).__name__.lower().endswith("norm")
    ]
