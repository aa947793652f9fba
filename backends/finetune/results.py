"""What every tuning step leaves: an artefact written whole, a model card, a result."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from backends.base import Context, Metric, Step, StepResult
from backends.finetune import Tuning
from backends.training.meter import Meter
from backends.training.trainer import Trained
from knowledge.quantities import HOUR

SHOWN = ("accuracy", "macro_f1", "span_f1", "ece", "loss", "perplexity", "exact_match", "token_f1")


class Outcome(NamedTuple):
    """What a step came to, for its result."""

    metrics: dict[str, Metric]
    counts: dict[str, int]
    settings: Tuning
    artefact: str
    notes: list[str]


def written(folder: Path, write: Callable[[Path], None]) -> None:
    """Write an artefact's folder whole: a crash leaves the old one or none, never a part."""
    beside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    write(beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def training_notes(trained: Trained, metric: str) -> list[str]:
    """How training went, in words."""
    notes = [*trained.notes, f"matrix products in {'bf16' if trained.bf16 else 'fp32'}"]
    if trained.expected_seconds and trained.seconds:
        off = trained.expected_seconds / trained.seconds - 1
        notes.append(
            f"training took {trained.seconds:.0f} s; after twenty steps it looked like "
            f"{trained.expected_seconds:.0f} s ({off:+.0%})"
        )
    if trained.resumed_from is not None:
        notes.append(f"resumed from step {trained.resumed_from}")
    if trained.best is not None:
        notes.append(f"validation {metric} of the weights kept: {abs(trained.best):.4f}")
    return notes


def result(step: Step, context: Context, meter: Meter, outcome: Outcome) -> StepResult:
    """The result of a step, with its model card written beside the artefact."""
    dollars = context.usd_per_hour
    found = StepResult(
        name=step.name,
        method=step.method,
        metrics=outcome.metrics,
        seconds=meter.seconds,
        peak_memory_bytes=meter.peak_bytes,
        memory_metric=meter.metric,
        usd=None if dollars is None else dollars * meter.seconds / HOUR,
        artefact=outcome.artefact,
        counts={**outcome.counts, "memory_before_bytes": meter.before},
        settings=msgspec.to_builtins(outcome.settings),
        notes=tuple(outcome.notes),
    )
    folder = context.folder / outcome.artefact
    (folder / "README.md").write_text(card(step, found, folder), encoding="utf-8")
    return found


def card(step: Step, found: StepResult, folder: Path) -> str:
    """A model card: front matter as the hub reads it, then data, settings, figures, limits."""
    library = "peft" if (folder / "adapter_config.json").is_file() else "transformers"
    head = {
        "base_model": Path(step.model).name if step.model else None,
        "library_name": library,
        "tags": [found.method, "llm-advisor"],
        "metrics": [name for name in SHOWN if name in found.metrics],
    }
    lines = [
        "---",
        yaml.safe_dump({key: value for key, value in head.items() if value}, sort_keys=False)
        + "---",
        f"\n# {step.name}\n",
        f"Made by `{found.method}` from `{head['base_model']}`.\n",
        *_use(found, library),
        "## Data\n",
        *_listed({key: Path(value).name for key, value in _files(step).items()}),
        *_listed({key: f"{value:,}" for key, value in found.counts.items()}),
        "\n## Results\n",
        *_listed({name: _figure(metric) for name, metric in found.metrics.items()}),
        "\n## Settings\n",
        *_listed({key: value for key, value in found.settings.items() if value is not None}),
        "\n## Limits\n",
        "Measured on the data named above and on nothing else; the limits and the licence of the "
        "base model hold for this one too.",
        *(f"\n- {note}" for note in found.notes),
    ]
    return "\n".join(lines) + "\n"


def _use(found: StepResult, library: str) -> list[str]:
    """How the artefact is loaded where that is not plain from its library."""
    classes = found.counts.get("classes")
    if library != "peft" or classes is None:
        return []
    return [
        "## Use\n",
        "```python",
        f"AutoPeftModelForSequenceClassification.from_pretrained(FOLDER, num_labels={classes})",
        "```\n",
    ]


def _files(step: Step) -> dict[str, str]:
    named = {key: getattr(step.data, key) for key in ("train", "validation", "test")}
    return {key: value for key, value in named.items() if value}


def _listed(values: Mapping[str, object]) -> list[str]:
    return [f"- {key}: {value}" for key, value in values.items()]


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} (95 %: {metric.low:.4g} to {metric.high:.4g}, n = {metric.n})"


def write_errors(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write what was got wrong on the test rows to `errors.jsonl` in a step's folder."""
    with (folder / "errors.jsonl").open("wb") as lines:
        for row in rows:
            lines.write(msgspec.json.encode(row) + b"\n")
