"""A model and an endless stream of tokens into a trained model, resumable at the exact token.

transformers' Trainer counts rows and epochs; a stream has neither, and steps of small models are
short enough for its bookkeeping to show. What surrounds a step is shared with the other trainers:
settings, optimizer, arithmetic, seals, the meter.

A step whose loss stands out of the ones before it is not taken; when several stand out, the
weights go back to the last checkpoint while the stream goes on, so that the data after it are
others (https://arxiv.org/abs/2204.02311, section 5.1).
"""

import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from backends.base import Context, Interrupted
from backends.training import (
    Training,
    attention,
    checkpoints,
    compiling,
    precision,
    spikes,
    states,
    trainer,
)
from backends.training.arguments import optimizer
from backends.training.meter import Meter
from backends.training.pace import Pace
from backends.training.rates import share
from backends.training.tokens import Tokens
from backends.training.watch import LOOKED_AT, SOONEST
from knowledge.errors import UserError

IN_A_ROW = 3  # steps skipped among the last ten before the weights go back
GOES_BACK = 5  # times before the training is given up
WARM = 3  # first steps that no time is taken of


def _as_it_is(batch: Any, number: int) -> tuple[Any, int]:
    return batch, number


class Course(NamedTuple):
    """What is to be learnt from a stream.

    Args:
        stream: batches of `micro_batch` rows.
        loss: (model, what `prepared` made of a batch) to a scalar; where the model is compiled
            this is compiled with it.
        prepared: from a batch and the number of tokens given before it to the loss's arguments;
            the number lets what is drawn for a batch (masks) be the same in a resumed run.
        evaluate: the model, and whether it is at its end, to figures, with `loss` among them;
            called every `evaluate_steps` and at the end.
        looks: tokens that an evaluation on the way looks at, and the one at the end.
        data: a hash of everything that decides the order and the loss.
    """

    stream: Tokens
    loss: Callable[..., torch.Tensor]
    evaluate: Callable[[Any, bool], Mapping[str, float]] | None
    data: str
    steps: int
    save_steps: int
    evaluate_steps: int
    spike: float | None = 6.0
    floor: float = 0.0
    compile: bool | None = None
    looks: tuple[int, int] = (0, 0)
    prepared: Callable[[Any, int], tuple[Any, ...]] = _as_it_is


class Taught(NamedTuple):
    """What training came to.

    `curve` has the figures of each evaluation, in order, with their `step` and `tokens`;
    `waited` is the share of the time of all steps in which the stream kept the model waiting,
    `recent` the mean loss of the last steps on what was learnt from.
    """

    trained: trainer.Trained
    tokens: int
    tokens_per_second: float | None
    waited: float | None
    skipped: tuple[int, ...]
    gone_back: int
    compiled: bool
    curve: tuple[dict[str, float], ...]
    recent: float = math.nan


def teach(
    model: Any,
    groups: Sequence[Mapping[str, Any]],
    course: Course,
    settings: Training,
    context: Context,
    meter: Meter,
) -> Taught:
    """Train a model in place, keeping checkpoints in the context's folder.

    Raises:
        Interrupted: the user asked to stop; the state is saved.
        UserError: the loss is beyond mending, the disk is full, or a checkpoint is of other data.
    """
    try:
        return _Teaching(model, groups, course, settings, context, meter).done()
    finally:
        attention.restore(model)


class _Teaching:
    """One training, from its beginning or from a checkpoint."""

    def __init__(
        self,
        model: Any,
        groups: Sequence[Mapping[str, Any]],
        course: Course,
        settings: Training,
        context: Context,
        meter: Meter,
    ) -> None:
        self.model, self.course, self.settings, self.context = model, course, settings, context
        self.meter = meter
        self.folder = context.folder / "checkpoints"
        self.notes: list[str] = []
        self.step, self.gone_back = 0, 0
        self.losses: deque[float] = deque(maxlen=spikes.REMEMBERED)
        self.skipped: list[int] = []
        self.curve: list[dict[str, float]] = []
        self.learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer([dict(group) for group in groups], settings)
        self.peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.seconds = self.waiting = 0.0
        self.timed = 0
        self.begun = 0.0
        self.expected: float | None = None
        self.pace = Pace()
        self.resumed_from: int | None = None

    def done(self) -> Taught:
        """Train to the end."""
        if self.context.resume:
            found = trainer.resumable(self.folder, self.course.data, self.notes)
            if found is not None:
                self._restore(found[0], whole=True)
                self.meter.carry(found[1].seconds, found[1].peak_bytes)
                self.resumed_from = self.step
        states.forget_after(self.context.folder / "metrics.jsonl", self.step)
        self._settle()
        self.context.progress.start("training", self.course.steps, "steps")
        self.context.progress.advance(self.step)
        self.begun = time.perf_counter()
        self.model.train()
        while self.step < self.course.steps:
            self._one_step()
        seconds = time.perf_counter() - self.begun
        return self._taught(seconds)

    def _one_step(self) -> None:
        begun = time.perf_counter()
        rate = share(
            self.step, self.course.steps, self.settings.schedule, self.settings.warmup,
            self.settings.decay_share, self.course.floor,
        )  # fmt: skip
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        before = self.course.stream.tokens
        loss, waited = self._gradients()
        tokens = self.course.stream.tokens - before
        norm = torch.nn.utils.clip_grad_norm_(
            self.learning.values(), self.settings.max_grad_norm, foreach=True
        )
        value = loss.item()
        if spikes.stands_out(self.losses, value, float(norm), self.course.spike):
            self.optimizer.zero_grad(set_to_none=True)
            self._skip(value)
            return
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(value)
        self.step += 1
        if self.step > WARM + (self.resumed_from or 0):
            took = time.perf_counter() - begun
            self.seconds += took
            self.waiting += waited
            self.timed += 1
            self.pace.stepped(took, tokens)
        if self.step == LOOKED_AT + (self.resumed_from or 0):
            self.expected = time.perf_counter() - self.begun + self._left()
        self._after(value, rate)

    def _gradients(self) -> tuple[torch.Tensor, float]:
        """The mean loss of a step, its gradients summed, and the seconds waited for tokens."""
        parts, waited = [], 0.0
        for _ in range(self.settings.accumulation):
            before = self.course.stream.tokens
            begun = time.perf_counter()
            batch = next(self.course.stream)
            waited += time.perf_counter() - begun
            with precision.autocast(self.way.bf16):
                loss = (
                    self.way.runs(*self.course.prepared(batch, before)) / self.settings.accumulation
                )
            loss.backward()
            parts.append(loss.detach())
        return torch.stack(parts).sum(), waited

    def _skip(self, value: float) -> None:
        """Leave a step out, and after several of them go back to the last checkpoint."""
        self.skipped.append(self.step + 1)
        self.context.log(
            step=self.step, skipped=True, spike=value if math.isfinite(value) else None
        )
        if sum(at > self.step - 9 for at in self.skipped[-IN_A_ROW:]) < IN_A_ROW:
            return
        found = checkpoints.last(self.folder)
        if found is None or self.gone_back >= GOES_BACK:
            kept = "no checkpoint was written yet" if found is None else f"{found[0].name} is kept"
            raise UserError(
                f"the loss stood out in {len(self.skipped)} steps, last {value:g} in step "
                f"{self.step + 1}; {kept}; lower learning_rate "
                f"(now {self.settings.learning_rate:g}) or set precision: fp32"
            )
        self._restore(found[0], whole=False)
        self.gone_back += 1
        note = f"the loss rose to {value:g}: back to step {self.step}, with the data after it"
        self.context.progress.note(note)
        self.notes.append(note)
        self._save()

    def _after(self, value: float, rate: float) -> None:
        """What is due after a step: a line, an evaluation, a checkpoint, an end."""
        last = self.step == self.course.steps
        if self.step % self.settings.logging_steps == 0 or last:
            self.context.log(
                step=self.step, tokens=self.course.stream.tokens, loss=value,
                learning_rate=self.peaks[0] * rate,
            )  # fmt: skip
            left = {"seconds_left": self._left()} if self.pace.steps > SOONEST else {}
            self.context.progress.advance(self.step, loss=value, **left)
        if self.course.evaluate and (self.step % self.course.evaluate_steps == 0 or last):
            self._evaluate()
        asked = self.context.should_stop is not None and self.context.should_stop() and not last
        if self.step % self.course.save_steps == 0 or last or asked:
            self._save()
        if asked:
            raise Interrupted(
                f"stopped at step {self.step} of {self.course.steps}; "
                f"saved in checkpoints/checkpoint-{self.step}"
            )

    def _left(self) -> float:
        """Seconds to the end, the evaluations to come among them, that of this step too."""
        steps, every = self.course.steps, self.course.evaluate_steps
        on_the_way, at_end = self.course.looks
        ahead = (steps - 1) // every - (self.step - 1) // every
        return self.pace.left(steps - self.step, ahead * on_the_way + at_end)

    def _evaluate(self) -> None:
        assert self.course.evaluate is not None
        begun = time.perf_counter()
        self.model.eval()
        last = self.step == self.course.steps
        with torch.inference_mode(), precision.autocast(self.way.bf16 and not last):
            figures = dict(self.course.evaluate(self.model, last))
        self.model.train()
        self.pace.looked(time.perf_counter() - begun, self.course.looks[last])
        self.curve.append({"step": self.step, "tokens": self.course.stream.tokens, **figures})
        named = {f"eval_{name}": value for name, value in figures.items()}
        self.context.log(step=self.step, tokens=self.course.stream.tokens, **named)

    def _save(self) -> None:
        folder = self.folder / f"checkpoint-{self.step}"
        shutil.rmtree(folder, ignore_errors=True)
        state = states.Kept(
            self.step, self.course.stream.state(), list(self.losses), self.skipped,
            self.gone_back, self.curve,
        )  # fmt: skip
        try:
            states.write(folder, self.learning, self.optimizer, state)
            checkpoints.seal(folder, self.course.data, self.meter.seconds, self.meter.peak_bytes)
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"cannot write {str(folder)!r}: {reason}; free some space and go on with --resume "
                "(the checkpoint before it is intact)"
            ) from error
        kept = sorted(self.folder.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        for old in kept[: -self.settings.save_total_limit]:
            shutil.rmtree(old)

    def _restore(self, checkpoint: Path, whole: bool) -> None:
        """Take weights and optimizer of a checkpoint, and with `whole` everything else."""
        state = states.read(checkpoint, self.learning, self.optimizer, chance=whole)
        self.step = state.step
        self.losses = deque(state.losses, maxlen=spikes.REMEMBERED)
        self.curve = state.curve
        if whole:
            self.course.stream.restore(state.stream)
            self.skipped, self.gone_back = state.skipped, state.gone_back
        else:
            states.forget_after(self.context.folder / "metrics.jsonl", self.step)

    def _settle(self) -> None:
        """Choose bf16 or fp32, and whether to compile, once for a run."""
        course, where = self.course, self.course.stream.state()
        self.model.train()
        self.way = compiling.settled(
            self.model, course.loss, lambda: course.prepared(next(course.stream), 0),
            course.steps, course.compile, self.settings, self.context,
        )  # fmt: skip
        course.stream.restore(where)
        self.notes += self.way.notes

    def _taught(self, seconds: float) -> Taught:
        per_step = None
        if self.timed:
            tokens = self.course.stream.tokens / max(1, self.step + len(self.skipped))
            per_step = tokens * self.timed / self.seconds
        return Taught(
            trained=trainer.Trained(
                steps=self.step, epochs=0.0, resumed_from=self.resumed_from, bf16=self.way.bf16,
                best=None, seconds=seconds, expected_seconds=self.expected,
                notes=tuple(self.notes),
            ),
            tokens=self.course.stream.tokens,
            tokens_per_second=per_step,
            waited=self.waiting / self.seconds if self.seconds else None,
            skipped=tuple(self.skipped),
            gone_back=self.gone_back,
            compiled=self.way.compiled,
            curve=tuple(self.curve),
            recent=sum(self.losses) / len(self.losses) if self.losses else math.nan,
        )  # fmt: skip
