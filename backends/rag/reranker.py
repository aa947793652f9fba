"""Passages found, ordered anew by a cross-encoder that reads question and passage together."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from sentence_transformers import CrossEncoder

from backends import weights
from backends.rag.index import Index
from backends.rag.search import Hit
from backends.training import precision as arithmetic

RERANKED = 20  # of the best passages; those below keep their order


class Reranker:
    """A loaded cross-encoder."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self.model = model
        self.batch_size = batch_size
        self._lock = threading.Lock()

    def ordered(self, index: Index, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits, the best `RERANKED` of them by the model's score, which becomes theirs."""
        read, rest = list(hits[:RERANKED]), list(hits[RERANKED:])
        if not read:
            return []
        pairs = [(question, index.chunks[hit.passage].searched) for hit in read]
        with self._lock:
            scores = np.asarray(
                self.model.predict(pairs, batch_size=self.batch_size, show_progress_bar=False),
                dtype=np.float32,
            ).reshape(len(pairs))
        order = np.argsort(-scores, kind="stable")
        best = [msgspec.structs.replace(read[at], score=float(scores[at])) for at in order]
        # Below the worst that was read, whatever scale the model's scores have.
        below = min(float(scores.min()), 0.0) - 1.0
        last = [msgspec.structs.replace(hit, score=below - n) for n, hit in enumerate(rest)]
        return best + last


def load(name: str, artefacts: Mapping[str, Path] | None = None, batch_size: int = 32) -> Reranker:
    """The cross-encoder of a folder, hub id or `step:<name>`.

    Raises:
        UserError: it cannot be found or loaded.
    """
    path = weights.local(name, artefacts)
    with weights.loading(name):
        model = CrossEncoder(
            path,
            device=arithmetic.device(),
            num_labels=1,
            model_kwargs={"use_safetensors": True},
        )
    model.eval()
    return Reranker(model, batch_size)
