"""The models' own losses, and what all losses share.

Shapes: B sequences, S tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from backends.dryrun.bundle import Bundle
from backends.dryrun.live import Recorder

Loss = Callable[[], torch.Tensor]


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
            outputs = {key: upcast(value) for key, value in outputs.items()}
        value: torch.Tensor = outputs["loss"]
        return value

    return loss


def reward(bundle: Bundle, recorder: Recorder) -> Loss:
    """Bradley-Terry on the scores of chosen and rejected answers, in one batch."""
    ids = tokens(recorder, 2 * bundle.request.micro_batch, bundle.request.seq_len)

    def loss() -> torch.Tensor:
        scores = upcast(bundle.model(input_ids=ids, use_cache=False).logits, bundle)
        chosen, rejected = scores.squeeze(-1).chunk(2)
        return -functional.logsigmoid(chosen - rejected).mean()

    return loss


@contextmanager
def phase(recorder: Recorder, name: str) -> Iterator[None]:
    """Within, windows bear the name of a phase."""
    before, window = recorder.phase, recorder.window
    recorder.phase = name
    recorder.mark("forward")
    yield
    recorder.phase = before
    recorder.resume(window)


def upcast(value: Any, bundle: Bundle | None = None) -> Any:
    """An output in fp32 as accelerate hands it on under autocast (of a job, if one is given)."""
    if bundle is not None and not bundle.request.autocast:
        return value
    return value.float() if torch.is_tensor(value) and value.is_floating_point() else value
