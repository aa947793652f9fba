"""A learning rate found by trying: short trainings from the same start, each at another rate.

From the usual rate it goes up, or else down, by factors of three for as long as the loss on the
rows tried gets lower.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from backends.base import Context
from backends.training import Training, precision
from backends.training.arguments import optimizer
from backends.training.batches import Order, padded
from knowledge.errors import UserError

KEPT = "learning_rate.txt"
STEPS = 20  # of each trial
STRIDE = 3.0  # between one rate and the next
MOST_TRIALS = 9
SCORED = 8  # batches of a trial that its loss is measured on


def factor(
    model: Any,
    groups: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    loss: Callable[..., torch.Tensor],
    pad: int,
    settings: Training,
    context: Context,
    seed: int,
) -> float:
    """By what all rates of the groups are best multiplied; kept for a resumed run.

    The model, its gradients and the random numbers are left as they were.

    Raises:
        UserError: the loss is no number at any rate.
        Interrupted: the user asked to stop.
    """
    kept = context.folder / KEPT
    if context.resume and kept.is_file():
        return float(kept.read_text())
    learning = [p for group in groups for p in group["params"]]
    before = [p.detach().clone() for p in learning]
    some = list(itertools.islice(_batches(rows, pad, settings, seed), STEPS))
    context.progress.start("finding the learning rate", MOST_TRIALS * STEPS, "steps")
    trials = itertools.count()

    def loss_at(times: float) -> float:
        done = next(trials) * STEPS
        try:
            torch.manual_seed(seed)
            _learn(model, groups, some, loss, times, settings, context, done)
            return _loss(model, some[:SCORED], loss, settings)
        finally:
            with torch.no_grad():
                for parameter, value in zip(learning, before, strict=True):
                    parameter.copy_(value)
            model.zero_grad(set_to_none=True)

    with torch.random.fork_rng(devices=[]):
        found = lowest(loss_at)
    kept.write_text(repr(found))
    return found


def lowest(loss_at: Callable[[float], float]) -> float:
    """The factor at which a loss is lowest, looked for by strides from 1, upwards first.

    Raises:
        UserError: the loss is no number at any factor tried.
    """
    best, least = 1.0, loss_at(1.0)
    left = MOST_TRIALS - 1
    for stride in (STRIDE, 1 / STRIDE):
        if best > 1.0 or (stride > 1 and not math.isfinite(least)):
            continue
        while left and ((value := loss_at(best * stride)) < least or not math.isfinite(least)):
            best, least = best * stride, value
            left -= 1
        left -= 1
    if not math.isfinite(least):
        raise UserError(
            f"the loss is no number at any learning rate down to {best:.2g} times the usual; "
            "check the data, or set precision: fp32"
        )
    return best


def _learn(
    model: Any,
    groups: Sequence[Mapping[str, Any]],
    some: Sequence[Mapping[str, torch.Tensor]],
    loss: Callable[..., torch.Tensor],
    times: float,
    settings: Training,
    context: Context,
    done: int,
) -> None:
    """Train for a few batches with all rates times a factor, which rise over the first half."""
    steps = optimizer([dict(group) for group in groups], settings)
    rates = [times * group["lr"] for group in steps.param_groups]
    model.train()
    for number, batch in enumerate(some, start=1):
        for group, rate in zip(steps.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, 2 * number / len(some))
        _batch_loss(model, batch, loss, settings).backward()
        torch.nn.utils.clip_grad_norm_(
            [p for group in steps.param_groups for p in group["params"]], settings.max_grad_norm
        )
        steps.step()
        steps.zero_grad(set_to_none=True)
        context.progress.advance(done + number)
        context.check_stop("stopped while the learning rate was looked for; nothing is learnt yet")


def _loss(
    model: Any,
    some: Sequence[Mapping[str, torch.Tensor]],
    loss: Callable[..., torch.Tensor],
    settings: Training,
) -> float:
    model.eval()
    with torch.no_grad():
        return sum(float(_batch_loss(model, one, loss, settings)) for one in some) / len(some)


def _batch_loss(
    model: Any,
    batch: Mapping[str, torch.Tensor],
    loss: Callable[..., torch.Tensor],
    settings: Training,
) -> torch.Tensor:
    place = next(model.parameters()).device
    inputs = {key: value.to(place) for key, value in batch.items()}
    labels = inputs.pop("labels")
    with precision.autocast(precision.bf16(settings.precision)):
        return loss(model(**inputs), labels)


def _batches(
    rows: Sequence[Mapping[str, Any]], pad: int, settings: Training, seed: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The training's own batches, over and over."""
    order = Order([len(row["input_ids"]) for row in rows], settings.micro_batch, seed)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        places = list(order)
        for start in range(0, len(places), settings.micro_batch):
            yield padded([rows[n] for n in places[start : start + settings.micro_batch]], pad)
