"""Texts into unit vectors: a sentence-transformers model, in the precision that agrees."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from backends import weights
from backends.training import precision as arithmetic
from knowledge.errors import UserError

Vectors = NDArray[np.float32]
DEFAULT_MODEL = "all-minilm-l6-v2"
AGREEMENT = 0.99  # least cosine between bf16 and fp32 vectors of the same text
SAMPLE = 24  # texts that the agreement is checked on
WORTH_CHECKING = 4 * SAMPLE  # with fewer texts the check costs more than bf16 saves


class Embedder:
    """A loaded embedding model; vectors come as rows of unit length.

    `fingerprint` is a hash over all weights as they were loaded: two embedders with the same one
    make the same vectors, whatever they are called and wherever they lie.
    """

    def __init__(self, name: str, model: Any, batch_size: int) -> None:
        self.name = name
        self.model = model
        self.batch_size = batch_size
        self.fingerprint = _fingerprint(model)
        self.precision = "bf16" if _dtype(model) == torch.bfloat16 else "fp32"
        self.dimensions = int(model.encode(["a"], show_progress_bar=False).shape[1])
        self.window = _window(model)

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, with the model's own passage prompt if it has one."""
        return self._encoded(self.model.encode_document, texts)

    def questions(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, with the model's own query prompt if it has one."""
        return self._encoded(self.model.encode_query, texts)

    def starts(self, texts: Sequence[str]) -> list[list[int]]:
        """For each text the character offsets at which its tokens begin (none added)."""
        if not texts:
            return []
        encoded = self.model.tokenizer(
            list(texts),
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [[start for start, _ in offsets] for offsets in encoded["offset_mapping"]]

    def settle(self, wish: str, texts: Sequence[str]) -> str | None:
        """Choose the precision; a note for people where bf16 was tried and refused.

        Args:
            wish: `fp32`, `bf16`, or `auto` for bf16 where the processor computes it and, on a
                sample of `texts`, its vectors agree with those of fp32.
        """
        if wish == "fp32" or self.precision == "bf16":
            return None
        if wish == "bf16":
            self._become(self.model.to(torch.bfloat16))
            return None
        if len(texts) < WORTH_CHECKING or not arithmetic.bf16("auto"):
            return None
        sample = [texts[int(at)] for at in np.linspace(0, len(texts) - 1, SAMPLE)]
        exact, model = self.passages(sample), self.model
        self._become(copy.deepcopy(model).to(torch.bfloat16))
        worst = float((exact * self.passages(sample)).sum(axis=1).min())
        if worst >= AGREEMENT:
            return None
        self._become(model)
        return f"embedded in fp32: bf16 vectors agree only to cosine {worst:.3f}"

    def follow(self, precision: str) -> None:
        """Take the precision of an index's vectors, where the processor computes it."""
        if precision == "bf16" and arithmetic.bf16("auto"):
            self.settle("bf16", ())

    def _become(self, model: Any) -> None:
        self.model = model
        self.precision = "bf16" if _dtype(model) == torch.bfloat16 else "fp32"

    def _encoded(self, encode: Any, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        vectors = encode(list(texts), batch_size=self.batch_size, show_progress_bar=False)
        vectors = np.asarray(vectors, dtype=np.float32)
        # Normalised here, in fp32: a bf16 norm is off by up to half a per cent.
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def load(name: str, artefacts: Mapping[str, Path] | None = None, batch_size: int = 32) -> Embedder:
    """The embedder of a model name, folder, hub id or `step:<name>`.

    Raises:
        UserError: it cannot be found or loaded, or its tokenizer gives no offsets.
    """
    path = weights.local(name, artefacts)
    disable_progress_bar()
    with weights.loading(name):
        model = SentenceTransformer(path, device=arithmetic.device())
    model.eval()
    if not getattr(model.tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer of {name!r} gives no character offsets, which citations need; "
            "take an embedding model with a fast tokenizer (tokenizer.json)"
        )
    return Embedder(name, model, batch_size)


def _dtype(model: Any) -> torch.dtype:
    return next((p.dtype for p in model.parameters()), torch.float32)


def _window(model: Any) -> int:
    """Tokens of a passage's own that the model reads, its special tokens and prompt left out."""
    tokenizer = model.tokenizer
    longest = min(int(model.max_seq_length or 512), int(tokenizer.model_max_length))
    prompts = getattr(model, "prompts", None) or {}
    said = str(prompts.get("document") or prompts.get("passage") or "")
    prompt = len(tokenizer(said, add_special_tokens=False)["input_ids"]) if said else 0
    return longest - int(tokenizer.num_special_tokens_to_add()) - prompt


def _fingerprint(model: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(raw.numpy()))
    return digest.hexdigest()
