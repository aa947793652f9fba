"""The calls of the `peft` backend (`backends.base.Backend` says what each does)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.finetune import classification, tuned
from backends.peft import Settings, adapters


def check(step: Step, settings: Settings, context: Context) -> None:
    """Refuse what could not be run, before anything is written."""
    classification.check(step, settings, context)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Train an adapter and write `adapter/`."""
    how = tuned.How(
        prepare=lambda base: adapters.adapted(base, settings),
        save=adapters.save,
        learning_rate=1e-3,
        head_learning_rate=1e-3,
        epochs=4.0,
    )
    return classification.run_tuned(step, settings, context, how, "adapter", adapters.load)


def predict(folder: Path, texts: Iterable[str]) -> Iterator[Prediction]:
    """The label of each text, in order."""
    return adapters.load(folder / "adapter").predictions(texts)


def evaluate(folder: Path, data: Data) -> dict[str, Metric]:
    """Accuracy, macro-F1 and calibration on other data."""
    return classification.score(adapters.load(folder / "adapter"), data)
