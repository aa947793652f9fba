"""Texts into unit vectors: a sentence-transformers model, as fast as it agrees with itself."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from backends import weights
from backends.rag import batches, engines, remembered
from backends.rag.engines import Candidate
from backends.rag.remembered import Found
from backends.training import precision as arithmetic
from knowledge.errors import UserError

Vectors = NDArray[np.float32]
DEFAULT_MODEL = "all-minilm-l6-v2"
TORCH, TORCH_BF16 = Candidate("torch", "fp32"), Candidate("torch", "bf16")
AGREEMENT = 0.99  # least cosine to the fp32 vectors of the same texts
RECALL_LOST = 0.005  # recall@10 that an engine may cost
SAMPLE = 24  # texts that speed is measured on; agreement on a twenty-fifth of the texts at least
MOST_CHECKED = 200
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
        self.engine: str = "torch"
        self.precision = "bf16" if _dtype(model) == torch.bfloat16 else "fp32"
        self._share(1)
        self.dimensions = int(model.encode(["a"], show_progress_bar=False).shape[1])
        self.window = _window(model)

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, with the model's own passage prompt if it has one."""
        return self._encoded("document", texts)

    def questions(self, texts: Sequence[str]) -> Vectors:
        """Vectors of questions, with the model's own query prompt if it has one."""
        return self._encoded("query", texts)

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

    def settle(self, wish: str, texts: Sequence[str], engine: str = "auto") -> str | None:
        """Choose engine and precision; a note for people where what was tried was refused.

        The fastest on a sample of `texts` whose vectors agree with those of torch in fp32 and
        find as well; tried once a model and machine, remembered then.

        Args:
            wish: `fp32`, `bf16`, or `auto` for bf16 where the processor computes it.
            engine: `torch`, `openvino`, or `auto` for the faster.
        """
        tried = engines.candidates(wish, engine, len(texts))
        if self.precision == "bf16" or not tried:
            return None
        if wish == "bf16" and engine != "openvino":
            self._become(engines.made(self.model, TORCH_BF16, self.fingerprint), TORCH_BF16)
            return None
        if len(texts) < WORTH_CHECKING and engine != "openvino":
            return None
        name = remembered.key(self.fingerprint, wish, engine, tried)
        known = remembered.recall(name)
        if known is None:
            known = self._fastest(tried, texts, engine)
            remembered.keep(name, known)
        elif known.candidate != TORCH:
            try:
                self._become(
                    engines.made(self.model, known.candidate, self.fingerprint), known.candidate
                )
            except Exception as error:  # what worked then does not now
                return _without(known.candidate, error)
        return known.refused

    def _fastest(self, tried: Sequence[Candidate], texts: Sequence[str], engine: str) -> Found:
        """Become the fastest of those that agree with torch in fp32; what it was and loses."""
        sample, checked = _drawn(texts, SAMPLE), _drawn(texts, len(texts) // 25)
        plain, fastest = self.model, engines.seconds(self.passages, sample)
        exact = engines.looked_up(self, checked)
        best, found, refused = (plain, TORCH), Found(*TORCH, 1.0, 0.0), None
        for one in tried:
            try:
                self._become(engines.made(plain, one, self.fingerprint), one)
                other = engines.looked_up(self, checked)
                spent = engines.seconds(self.passages, sample)
            except Exception as error:  # whatever a translator cannot do, torch can
                refused = _without(one, error)
                continue
            cosine = engines.agreement(exact.passages, other.passages)
            lost = exact.recall - other.recall
            # One text of a small sample is no evidence.
            if cosine < AGREEMENT or lost > max(RECALL_LOST, 1 / len(checked)) + 1e-9:
                refused = (
                    f"embedded without {one.precision} in {one.engine}: its vectors agree with "
                    f"fp32 only to cosine {cosine:.3f}, recall@10 falls by {max(lost, 0):.3f}"
                )
            elif one == TORCH_BF16 or spent < fastest or engine == "openvino":
                best, fastest = (self.model, one), spent
                found = Found(*one, cosine, lost)
        self._become(*best)
        return msgspec.structs.replace(found, refused=refused)

    def follow(self, precision: str) -> None:
        """Take the precision of an index's vectors, where the processor computes it.

        In torch: for questions, which come one at a time, a translation does not pay.
        """
        if precision == "bf16" and arithmetic.bf16("auto"):
            self.settle("bf16", (), "torch")

    def share(self, callers: int) -> int:
        """Let so many threads embed at a time; how many may, one where the engine cannot."""
        return self._share(callers if self.engine == "torch" else 1)

    def _share(self, callers: int) -> int:
        """Neither tokenisers nor compiled models like two callers at once: one for each caller.

        All of them have the same weights.
        """
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._idle.put(self.model)
        for _ in range(callers - 1):
            same = {id(one): one for one in (*self.model.parameters(), *self.model.buffers())}
            self._idle.put(copy.deepcopy(self.model, same))
        return callers

    def _become(self, model: Any, how: Candidate) -> None:
        self.model = model
        self.engine, self.precision = how
        self._share(1)

    def _encoded(self, task: str, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        idle = self._idle
        model = idle.get()
        try:
            vectors = None
            if self.engine == "openvino":
                callers = model[0].model.callers
                vectors = batches.encoded(model, task, texts, self.batch_size, callers)
            if vectors is None:
                encode = getattr(model, f"encode_{task}")
                vectors = encode(list(texts), batch_size=self.batch_size, show_progress_bar=False)
        finally:
            idle.put(model)
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
        model = SentenceTransformer(
            path, device=arithmetic.device(), model_kwargs={"use_safetensors": True}
        )
    model.eval()
    if not getattr(model.tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer of {name!r} gives no character offsets, which citations need; "
            "take an embedding model with a fast tokenizer (tokenizer.json)"
        )
    return Embedder(name, model, batch_size)


def _drawn(texts: Sequence[str], count: int) -> list[str]:
    """Texts evenly drawn, within what is worth checking."""
    count = min(max(count, SAMPLE), MOST_CHECKED)
    return [texts[int(at)] for at in np.linspace(0, len(texts) - 1, count)]


def _without(one: Candidate, error: Exception) -> str:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return f"embedded without {one.engine}: {reason}"


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
