"""What computes an embedder's vectors: torch or OpenVINO, fp32 or bf16; the fastest that agrees.

OpenVINO runs the transformer only: tokeniser, prompts and pooling stay those of
sentence-transformers, so that the vectors are the same up to rounding.
"""

import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutput

from backends.rag import graphs
from backends.training import precision as arithmetic

Engine = Literal["torch", "openvino"]
ASKED_WORDS = 12  # of a passage, as a question for it
ALIKE = 1e-3  # cosines that differ by less say nothing of which text is nearer
WORTH_TURNING = 600  # texts; with fewer OpenVINO's translation costs more than it saves


class Candidate(NamedTuple):
    """A way to compute: the engine and the precision of its products."""

    engine: Engine
    precision: str


def candidates(precision: str, engine: str, texts: int) -> list[Candidate]:
    """The ways to try beside torch in fp32.

    Args:
        precision: `auto`, `fp32` or `bf16`. engine: `auto`, `torch` or `openvino`.
        texts: how many there are to embed.
    """
    on_cpu = arithmetic.device() == "cpu"
    in_bf16 = precision == "bf16" or (precision == "auto" and arithmetic.bf16("auto"))
    kind = "bf16" if in_bf16 else "fp32"
    turned = engine == "openvino" or (engine == "auto" and texts >= WORTH_TURNING)
    found: list[Candidate] = []
    if engine != "openvino" and in_bf16:
        found.append(Candidate("torch", kind))
    if turned and on_cpu and find_spec("openvino") is not None:
        found.append(Candidate("openvino", kind))
    return found


def made(model: Any, candidate: Candidate, fingerprint: str) -> Any:
    """A copy of a sentence-transformers model that computes so.

    Args:
        fingerprint: of the model's weights.

    Raises:
        Exception: OpenVINO has no translation for the model; the caller does without.
    """
    if candidate.engine == "torch":
        changed = copy.deepcopy(model)
        return changed.to(torch.bfloat16) if candidate.precision == "bf16" else changed
    # Its weights are OpenVINO's own: those of torch need no copy.
    changed = copy.deepcopy(model, {id(model[0].model): model[0].model})
    changed[0].model = _translated(model[0].model, candidate.precision, fingerprint)
    return changed


def seconds(encode: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> float:
    """How long texts take, a first pass over the longest of them left out."""
    encode(sorted(texts, key=len)[-8:])
    begun = time.perf_counter()
    encode(texts)
    return time.perf_counter() - begun


def agreement(exact: Any, other: Any) -> float:
    """The least cosine of vectors of the same texts."""
    return float(np.sum(exact * other, axis=1).min())


class LookedUp(NamedTuple):
    """Vectors of passages, and how many are among the ten nearest to words of their own."""

    passages: Any
    recall: float


def looked_up(model: Any, texts: Sequence[str]) -> LookedUp:
    """The passages' vectors, each looked up by words out of its middle.

    Args:
        model: has `passages` and `questions`, as an embedder.
    """
    passages = model.passages(texts)
    asked = model.questions([" ".join(_middle(text.split())) for text in texts])
    scores = asked @ passages.T
    own = scores[np.arange(len(texts)), np.arange(len(texts))][:, None]
    return LookedUp(passages, float(((scores > own + ALIKE).sum(axis=1) < 10).mean()))


def _middle(words: list[str]) -> list[str]:
    start = max((len(words) - ASKED_WORDS) // 2, 0)
    return words[start : start + ASKED_WORDS]


class Compiled(torch.nn.Module):
    """A transformer compiled by OpenVINO, in the place of the torch one.

    `callers` threads may call it at a time: one more than it computes side by side, so that the
    next batch waits when one is done.
    """

    def __init__(self, original: Any, compiled: Any) -> None:
        super().__init__()
        self.config = original.config
        self.callers = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) + 1
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.callers):
            self._idle.put(compiled.create_infer_request())
        self._takes = {port.any_name for port in compiled.inputs}
        # The binding's face to numpy is made by its first call, which needs Python's lock in it:
        # two threads that meet there wait for each other for ever. So one calls before them.
        first = self._idle.get()
        first.infer({name: np.ones((1, 1), dtype=np.int64) for name in self._takes})
        self._idle.put(first)
        # sentence-transformers asks the parameters for device and precision.
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        **_: Any,
    ) -> BaseModelOutput:
        """Token vectors [batch, tokens, numbers] of token ids [batch, tokens]."""
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
        }
        request = self._idle.get()
        try:
            said = request.infer(
                {name: given[name].numpy() for name in self._takes}, share_inputs=True
            )
            states = np.array(said[0])
        finally:
            self._idle.put(request)
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


def _translated(model: Any, precision: str, fingerprint: str) -> Compiled:
    with _quiet():
        import openvino  # an extra of its own, and a second to import

        graph = graphs.graph(model, fingerprint)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            # Several batches side by side, each on its own cores: none waits for another's.
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return Compiled(model, openvino.Core().compile_model(graph, "CPU", settings))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings, and without openvino's report home."""
    os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
