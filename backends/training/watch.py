"""What the training room does between steps: shows progress, logs, stops when asked or in vain."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import TrainerCallback

from backends.base import Context

LOOKED_AT = 20  # steps after which the time of all is foretold


class Watch(TrainerCallback):
    """Progress to the context, metrics to `metrics.jsonl`, an early end.

    Whether patience is exhausted is read from the trainer's own history, which every checkpoint
    holds, so a resumed run stops where the undisturbed one would have.
    """

    def __init__(self, context: Context, metric: str, patience: int | None) -> None:
        self.context, self.metric, self.patience = context, metric, patience
        self.stopped = False
        self.notes: list[str] = []
        self.seconds: float | None = None
        self.expected: float | None = None
        self._marks: list[float] = []
        self._figures: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Say something now, and keep it for the result."""
        self.context.progress.note(text)
        self.notes.append(text)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin the bar; a resumed run begins where it stopped."""
        self._marks = [time.perf_counter()]
        self.context.progress.start("training", state.max_steps, "steps")
        self.context.progress.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar; on a stop that was asked for, save and end after this step."""
        self.context.progress.advance(state.global_step, **self._figures)
        if len(self._marks) <= LOOKED_AT:
            self._marks.append(time.perf_counter())
            if len(self._marks) == LOOKED_AT + 1:
                self._expect(state.max_steps - state.global_step)
        ask = self.context.should_stop
        if ask is not None and ask() and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep how long it took."""
        self.seconds = time.perf_counter() - self._marks[0]

    def _expect(self, left: int) -> None:
        """Tell from the first steps how long the training takes [s]; the first is no measure."""
        each = [b - a for a, b in itertools.pairwise(self._marks[1:])]
        typical = sum(each) / len(each)
        self.expected = self._marks[-1] - self._marks[0] + left * typical

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
