"""What the training room does between steps: shows progress, logs, stops when asked or in vain."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from backends.base import Context

SOONEST = 5  # steps after which the time left is shown
LOOKED_AT = 20  # steps after which the time of all is foretold


class Watch(TrainerCallback):
    """Progress to the context, metrics to `metrics.jsonl`, an early end.

    Whether patience is exhausted is read from the trainer's own history, which every checkpoint
    holds, so a resumed run stops where the undisturbed one would have.

    Args:
        work: what each step has to do, in any unit, where steps are unlike: times are foretold
            by it.
    """

    def __init__(
        self,
        context: Context,
        metric: str,
        patience: int | None,
        work: Sequence[float] | None = None,
    ) -> None:
        self.context, self.metric, self.patience = context, metric, patience
        self._sums = [] if work is None else list(itertools.accumulate(work, initial=0.0))
        self.stopped = False
        self.notes: list[str] = []
        self.seconds: float | None = None
        self.expected: float | None = None
        self._begun = 0.0
        self._since: float | None = None
        self._fit = [0.0] * 5  # steps measured; sums of seconds, work, work squared, their product
        self._figures: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Say something now, and keep it for the result."""
        self.context.progress.note(text)
        self.notes.append(text)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the bar; a resumed run begins where it stopped."""
        self._begun, self._since, self._fit = time.perf_counter(), None, [0.0] * 5
        self.context.progress.start("training", state.max_steps, "steps")
        self.context.progress.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar; on a stop that was asked for, save and end after this step."""
        now = time.perf_counter()
        self._note_time(state.global_step, now)
        seen = self._fit[0] + 1
        left = {"seconds_left": self._left(state)} if seen > SOONEST else {}
        if seen == LOOKED_AT:
            self.expected = now - self._begun + left["seconds_left"]
        self.context.progress.advance(state.global_step, **self._figures, **left)
        ask = self.context.should_stop
        if ask is not None and ask() and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep how long it took."""
        self.seconds = time.perf_counter() - self._begun

    def _left(self, state: Any) -> float:
        """Seconds to the end, from how the steps' times went with their work.

        A straight line through the steps since the second one; the mean where that is no line.
        """
        done, steps = state.global_step, state.max_steps - state.global_step
        work = self._sums[state.max_steps] - self._sums[done] if self._sums else float(steps)
        count, t, w, ww, tw = self._fit
        spread = count * ww - w * w
        slope = (count * tw - w * t) / spread if spread > 1e-9 * ww else 0.0
        base = (t - slope * w) / count
        if slope < 0 or base < 0:
            return t * work / w
        return base * steps + slope * work

    def _note_time(self, step: int, now: float) -> None:
        """Keep how long a step took, and what it had to do."""
        if self._since is not None:  # the first step is no measure: much is made ready in it
            took = now - self._since
            work = self._sums[step] - self._sums[step - 1] if self._sums else 1.0
            new = (1.0, took, work, work * work, took * work)
            self._fit = [old + one for old, one in zip(self._fit, new, strict=True)]
        self._since = now

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the trainer's figures."""
        figures = {key: value for key, value in (logs or {}).items() if key != "total_flos"}
        self.context.log(step=state.global_step, **figures)
        if "loss" in figures:
            self._figures["loss"] = float(figures["loss"])

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
        """Stop when the metric has not become better for long enough."""
        self._figures[self.metric] = float(metrics[f"eval_{self.metric}"])
        if exhausted(state.log_history, self.metric, self.patience):
            control.should_training_stop = True


def exhausted(history: Sequence[Mapping[str, Any]], metric: str, patience: int | None) -> bool:
    """Whether the last `patience` evaluations brought no better value than the best before.

    Less is better of a loss, more of anything else.
    """
    seen = [entry[f"eval_{metric}"] for entry in history if f"eval_{metric}" in entry]
    if patience is None or not seen:
        return False
    best = min(seen) if metric == "loss" else max(seen)
    return len(seen) - 1 - seen.index(best) >= patience
