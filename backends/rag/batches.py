"""Texts through a model in small batches of about equal length in tokens, several side by side."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SIZE = 8  # texts a batch: long enough for the products, short enough to waste little on padding
STEP = 8  # lengths are multiples of this [tokens], since each shape is prepared for once
TOGETHER = 1024  # texts made into tokens at a time
PROMPTS = {"document": ("document", "passage", "corpus"), "query": ("query",)}


def encoded(
    model: Any, task: str, texts: Sequence[str], size: int, callers: int
) -> NDArray[np.float32] | None:
    """The vectors of texts, not of unit length; None for a model that takes something else.

    What `encode_document` or `encode_query` of sentence-transformers gives, up to rounding: those
    sort by characters, which leaves a fifth more padding in prose mixed with code.

    Args:
        task: `document` or `query`.
        size: texts a batch at most.
        callers: how many threads may call the model at a time.
    """
    parts: list[NDArray[np.float32]] = []
    with ThreadPoolExecutor(callers) as pool:
        for first in range(0, len(texts), TOGETHER):
            features = model.preprocess(
                list(texts[first : first + TOGETHER]), prompt=_prompt(model, task), task=task
            )
            mask = features.get("attention_mask")
            if mask is None or mask.ndim != 2 or model.tokenizer.padding_side != "right":
                return None
            order, batches = zip(*_batches(features, mask, min(size, SIZE)), strict=True)
            vectors = list(pool.map(lambda one: _vectors(model, one, task), batches))
            places = np.argsort(np.concatenate(order))
            parts.append(np.concatenate(vectors)[places])
    return np.concatenate(parts)


def _prompt(model: Any, task: str) -> str | None:
    """The prompt that sentence-transformers would put before a text of its own accord."""
    known = (name for name in PROMPTS[task] if name in model.prompts)
    name = next(known, model.default_prompt_name)
    return model.prompts.get(name) if name is not None else None


def _batches(
    features: dict[str, Any], mask: torch.Tensor, size: int
) -> Iterator[tuple[NDArray[np.int64], dict[str, Any]]]:
    """Places of texts and their features, the longest first."""
    lengths = mask.sum(dim=1).numpy()
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        longest = -(-int(lengths[rows[0]]) // STEP) * STEP
        yield (
            rows,
            {
                name: value[torch.from_numpy(rows), :longest].contiguous()
                if torch.is_tensor(value) and value.shape == mask.shape
                else value
                for name, value in features.items()
            },
        )


def _vectors(model: Any, features: dict[str, Any], task: str) -> NDArray[np.float32]:
    with torch.inference_mode():
        found = model(features, task=task)["sentence_embedding"]
    return np.asarray(found.float().numpy(), dtype=np.float32)
