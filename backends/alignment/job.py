"""The calls of the `alignment` backend (`backends.base.Backend` says what each does)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backends.alignment import Settings, grouping, judging, own, preferring, proximal
from backends.base import Context, Data, Metric, Prediction, Step, StepResult

METHODS: dict[str, Any] = {
    "reward-model": judging,
    "dpo": preferring,
    "ppo": proximal,
    "grpo": grouping,
}


def check(step: Step, settings: Settings, context: Context) -> None:
    """Refuse what could not be run, before anything is written."""
    own.refuse_foreign(step.method, settings)
    METHODS[step.method].check(step, settings, context)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train as the method says and write `model/` or `adapter/`."""
    found: StepResult = METHODS[step.method].run(step, settings, context)
    return found


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """The answer to each text, in order; of a reward model the reward of each."""
    raise NotImplementedError


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """The figures of a finished step on other data."""
    raise NotImplementedError
