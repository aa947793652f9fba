"""A frozen encoder with a linear head, in the format of sentence-transformers.

Shapes: B texts of a batch, T tokens, H hidden, C classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel
from transformers.utils import cached_file

from backends import weights
from backends.base import Context
from backends.training import batches, precision
from knowledge.errors import UserError

POOLING = "1_Pooling"
HEAD = "2_Dense"
TYPES = "sentence_transformers.models."


class PooledEncoder(torch.nn.Module):
    """An encoder whose token vectors become one vector a text: their mean, or the first.

    Forward takes `input_ids` and `attention_mask` [B, T] and returns [B, H], or [B, C] once a
    `head` is set.
    """

    def __init__(self, encoder: Any, first_token: bool) -> None:
        super().__init__()
        self.encoder, self.first_token = encoder, first_token
        self.head: torch.nn.Linear | None = None

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states_BTH = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        if self.first_token:
            pooled_BH = states_BTH[:, 0]
        else:
            mask_BT1 = attention_mask.unsqueeze(-1).to(states_BTH.dtype)
            pooled_BH = (states_BTH * mask_BT1).sum(1) / mask_BT1.sum(1).clamp_min(1e-9)
        return pooled_BH if self.head is None else self.head(pooled_BH)


def load(source: str, name: str) -> PooledEncoder:
    """The encoder at a path or hub id, frozen, with the pooling it was made for.

    Raises:
        UserError: it cannot be loaded, or is no encoder of text.
    """
    with weights.loading(name):
        encoder = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
    if getattr(encoder.config, "is_encoder_decoder", False):
        raise UserError(
            f"the model {name!r} ({encoder.config.model_type}) is no plain encoder; "
            "head-ft needs one such as all-minilm-l6-v2"
        )
    pooled = PooledEncoder(encoder, first_token=_first_token(source, name))
    pooled.requires_grad_(False).eval()
    return pooled.to(precision.device())


def vectors(
    model: torch.nn.Module,
    ids: Sequence[Sequence[int]],
    pad: int,
    context: Context | None = None,
    label: str = "",
    batch: int = 64,
    bf16: bool = False,
) -> torch.Tensor:
    """What a model of `input_ids` and `attention_mask` says of each row [rows, ...], on the CPU.

    Args:
        ids: the tokens of each row.
        context: where progress goes and stops come from, or none.
    """
    place = next(model.parameters()).device
    found: torch.Tensor | None = None
    done = 0
    if context is not None:
        context.progress.start(label, len(ids), "texts")
    with torch.inference_mode(), precision.autocast(bf16):
        for rows in batches.sorted_batches([len(row) for row in ids], batch):
            inputs = batches.padded([{"input_ids": ids[row]} for row in rows], pad)
            said = model(**{key: value.to(place) for key, value in inputs.items()}).float().cpu()
            found = said.new_empty(len(ids), *said.shape[1:]) if found is None else found
            found[rows] = said
            done += len(rows)
            if context is not None:
                context.progress.advance(done)
                context.check_stop(f"stopped at text {done} of {len(ids)} ({label})")
    return torch.empty(0) if found is None else found.clone()


def save(model: PooledEncoder, tokenizer: Any, max_length: int, folder: Path) -> None:
    """Write encoder, tokenizer, pooling and head so that sentence-transformers loads them.

    `SentenceTransformer(folder).encode(texts)` then gives the logits, and
    `AutoModel.from_pretrained(folder)` the encoder; the labels are in `config.json`.
    """
    head = model.head
    if head is None:
        raise ValueError("the encoder has no head yet")
    model.encoder.save_pretrained(folder)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    width, classes = head.in_features, head.out_features
    _json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{TYPES}Transformer"},
            {"idx": 1, "name": "1", "path": POOLING, "type": f"{TYPES}Pooling"},
            {"idx": 2, "name": "2", "path": HEAD, "type": f"{TYPES}Dense"},
        ],
    )
    _json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_length, "do_lower_case": False},
    )
    (folder / POOLING).mkdir(exist_ok=True)
    _json(
        folder / POOLING / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": model.first_token,
            "pooling_mode_mean_tokens": not model.first_token,
        },
    )
    (folder / HEAD).mkdir(exist_ok=True)
    _json(
        folder / HEAD / "config.json",
        {
            "in_features": width,
            "out_features": classes,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    state = {f"linear.{key}": value.detach().cpu() for key, value in head.state_dict().items()}
    save_file(state, folder / HEAD / "model.safetensors", metadata={"format": "pt"})


def with_head(folder: Path) -> PooledEncoder:
    """The encoder and head that `save` wrote."""
    model = load(str(folder), str(folder))
    state = load_file(folder / HEAD / "model.safetensors")
    weight, bias = state["linear.weight"], state["linear.bias"]
    model.head = torch.nn.Linear(weight.shape[1], weight.shape[0])
    model.head.load_state_dict({"weight": weight, "bias": bias})
    model.head.requires_grad_(False).to(precision.device())
    return model


def sidecar(source: str, file: str) -> dict[str, Any]:
    """A JSON file that lies beside a model's weights in its folder or on the hub, or {}."""
    found = cached_file(
        source,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return {} if found is None else dict(msgspec.json.decode(Path(found).read_bytes()))


def _first_token(source: str, name: str) -> bool:
    """Whether a sentence encoder pools by its first token; the mean is the usual way.

    Raises:
        UserError: it pools in a way that is not known here.
    """
    config = sidecar(source, f"{POOLING}/config.json")
    modes = {
        key.removeprefix("pooling_mode_").removesuffix("_token").removesuffix("_tokens")
        for key, value in config.items()
        if key.startswith("pooling_mode_") and value is True
    }
    if isinstance(config.get("pooling_mode"), str):  # as sentence-transformers 6 writes it
        modes = {config["pooling_mode"]}
    if modes not in (set(), {"mean"}, {"cls"}):
        raise UserError(
            f"the model {name!r} pools by {', '.join(sorted(modes))}; known here: mean, cls"
        )
    return modes == {"cls"}


def _json(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
