"""Losses: the models' own, and those of preferences as TRL computes them from whole logits.

TRL from 1.16 on can also take log-probabilities in tiles of the vocabulary head, which holds no
logits; that is another loss (`loss_impl` of a job), not traced here.

Shapes: B sequences, S tokens, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from trl.trainer.utils import selective_log_softmax

from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder

Loss = Callable[[], torch.Tensor]
BETA = 0.1


def tokens(recorder: Recorder, batch: int, length: int) -> torch.Tensor:
    """Token ids without padding, shape (B, S)."""
    return torch.zeros((batch, length), dtype=torch.long, device=recorder.device)


def own(bundle: Bundle, recorder: Recorder) -> Loss:
    """The loss that the model computes from labels."""
    request = bundle.request
    ids = tokens(recorder, request.micro_batch, request.seq_len)
    classes = type(bundle.base).__name__.endswith("ForSequenceClassification")
    labels = torch.zeros(
        ids.shape[:1] if classes else ids.shape, dtype=torch.long, device=recorder.device
    )

    def loss() -> torch.Tensor:
        outputs = bundle.model(input_ids=ids, labels=labels)
        if request.autocast:  # accelerate hands outputs on in fp32
            outputs = {key: _upcast(value) for key, value in outputs.items()}
        value: torch.Tensor = outputs["loss"]
        return value

    return loss


def reward(bundle: Bundle, recorder: Recorder) -> Loss:
    """Bradley-Terry on the scores of chosen and rejected answers, in one batch."""
    ids = tokens(recorder, 2 * bundle.request.micro_batch, bundle.request.seq_len)

    def loss() -> torch.Tensor:
        scores = _upcast(bundle.model(input_ids=ids, use_cache=False).logits, bundle)
        chosen, rejected = scores.squeeze(-1).chunk(2)
        return -functional.logsigmoid(chosen - rejected).mean()

    return loss


def dpo(bundle: Bundle, recorder: Recorder) -> Loss:
    """Chosen and rejected in one batch; the reference is read after the policy."""
    ids = tokens(recorder, 2 * bundle.request.micro_batch, bundle.request.seq_len)

    def loss() -> torch.Tensor:
        ours = logps(bundle, bundle.model, ids).sum(1)
        theirs = _reference(bundle, recorder, ids)
        chosen, rejected = (ours - theirs).chunk(2)
        return -functional.logsigmoid(BETA * (chosen - rejected)).mean()

    return loss


def kto(bundle: Bundle, recorder: Recorder) -> Loss:
    """Single answers, and mismatched ones for the divergence, which need no gradient."""
    ids = tokens(recorder, bundle.request.micro_batch, bundle.request.seq_len)

    def loss() -> torch.Tensor:
        with torch.no_grad(), phase(recorder, "divergence: "):
            other = logps(bundle, bundle.model, ids).sum(1)
        recorder.mark("forward")
        ours = logps(bundle, bundle.model, ids).sum(1)
        theirs = _reference(bundle, recorder, ids)
        drift = (other - _reference(bundle, recorder, ids)).mean().clamp(min=0)
        return (1 - torch.sigmoid(BETA * (ours - theirs - drift))).mean()

    return loss


def orpo(bundle: Bundle, recorder: Recorder) -> Loss:
    """Cross-entropy on the chosen answers and the log odds ratio, from the same logits."""
    size = bundle.request.micro_batch
    ids = tokens(recorder, 2 * size, bundle.request.seq_len)

    def loss() -> torch.Tensor:
        logits = _upcast(bundle.model(input_ids=ids, use_cache=False).logits, bundle)
        chosen = logits[:size, :-1].contiguous()
        likelihood = functional.cross_entropy(
            chosen.view(-1, chosen.shape[-1]), ids[:size, 1:].flatten()
        )
        ours = selective_log_softmax(logits[:, :-1], ids[:, 1:]).mean(1)
        good, bad = ours.chunk(2)
        odds = (good - bad) - (torch.log1p(-good.exp()) - torch.log1p(-bad.exp()))
        return likelihood - BETA * functional.logsigmoid(odds).mean()

    return loss


def logps(bundle: Bundle, model: Any, ids: torch.Tensor, keep: int = 0) -> torch.Tensor:
    """Log-probability of each next token, shape (B, S - 1), or of the last `keep` (B, keep)."""
    more = {"logits_to_keep": keep + 1} if keep else {}
    logits = _upcast(model(input_ids=ids, use_cache=False, **more).logits, bundle)[:, :-1]
    picked: torch.Tensor = selective_log_softmax(logits, ids[:, -logits.shape[1] :])
    return picked


@contextmanager
def phase(recorder: Recorder, name: str) -> Iterator[None]:
    """Within, windows bear the name of a phase."""
    before, window = recorder.phase, recorder.window
    recorder.phase = name
    recorder.mark("forward")
    yield
    recorder.phase = before
    recorder.resume(window)


@contextmanager
def as_reference(bundle: Bundle) -> Iterator[Any]:
    """The reference: a model of its own, or the base without its adapter."""
    if "reference" in bundle.models:
        yield bundle.models["reference"]
    else:
        with bundle.model.disable_adapter():
            yield bundle.model


def _reference(bundle: Bundle, recorder: Recorder, ids: torch.Tensor) -> torch.Tensor:
    if bundle.request.reference == "precomputed":
        return torch.zeros(ids.shape[0], device=recorder.device)
    with torch.no_grad(), phase(recorder, "reference: "), as_reference(bundle) as model:
        return logps(bundle, model, ids).sum(1)


def _upcast(value: Any, bundle: Bundle | None = None) -> Any:
    if bundle is not None and not bundle.request.autocast:
        return value
    return value.float() if torch.is_tensor(value) and value.is_floating_point() else value
