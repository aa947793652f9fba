"""Examples per second of the training room beside a bare torch loop and the Trainer as it comes.

    python benchmarks/training_speed.py [--model all-minilm-l6-v2] [--rounds 3]

The same encoder learns the same texts of random length: by the room, which after each of its steps
lets a bare loop take one on the same batch, so that other work on the machine disturbs both alike;
then in whole runs in turn, of which the median counts, by the transformers Trainer with its
defaults and by the room in fp32 and bf16. Shares matter, not seconds.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from backends import weights
from backends.base import Context
from backends.progress import Progress, Silence
from backends.training import Training, batches, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson

CLASSES, BATCH, RATE, SEED = 20, 16, 1e-4, 13
WARM = 3  # steps that no time is taken of


def texts(count: int) -> list[dict[str, Any]]:
    """Rows of random tokens; lengths as texts have them, a few long ones among many short."""
    chance = random.Random(0)
    lengths = [min(160, 4 + int(chance.lognormvariate(2.8, 0.8))) for _ in range(count)]
    return [
        {
            "input_ids": [101, *(chance.randrange(1000, 20000) for _ in range(length)), 102],
            "labels": chance.randrange(CLASSES),
        }
        for length in lengths
    ]


def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The mean loss of a step."""
    summed = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="sum")
    return summed / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def bare(model: Any, rows: list[dict[str, Any]]) -> Iterator[None]:
    """A loop with nothing but what learning needs, in the room's own order; a step at a time."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    order = list(batches.Order([len(row["input_ids"]) for row in rows], BATCH, SEED))
    for start in range(0, len(order), BATCH):
        batch = batches.padded([rows[n] for n in order[start : start + BATCH]], 0)
        labels = batch.pop("labels")
        loss(model(**batch), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield


def ours(
    model: Any,
    rows: list[dict[str, Any]],
    precision: Any,
    look: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> None:
    """The training room; `look` is called after each step."""
    with tempfile.TemporaryDirectory() as folder, Meter() as meter:
        settings = Training(
            learning_rate=RATE, epochs=1, micro_batch=BATCH, precision=precision, save_steps=10**6,
            seed=SEED,
        )  # fmt: skip
        groups = [{"params": list(model.parameters()), "lr": RATE}]
        keep = trainer.Room._save_checkpoint
        trainer.Room._save_checkpoint = lambda *_: None  # type: ignore[method-assign]
        context = Context(Path(folder), progress=progress or Silence(), should_stop=look)
        try:
            trainer.train(model, groups, Lesson(rows, loss, 0), settings, context, meter)
        finally:
            trainer.Room._save_checkpoint = keep  # type: ignore[method-assign]


def step_by_step(fresh: Callable[[], Any], rows: list[dict[str, Any]]) -> Any:
    """Seconds of each step of the room and of the bare loop [2, steps]: the same batch in turn."""
    steps, marks = bare(fresh(), rows), list[tuple[float, float]]()

    def look() -> bool:
        ended = time.perf_counter()
        next(steps)
        marks.append((ended, time.perf_counter()))
        return False

    ours(fresh(), rows, "fp32", look)
    ended, begun = np.asarray(marks[WARM - 1 :]).T
    return np.stack([ended[1:] - begun[:-1], (begun - ended)[1:]])


def plain(model: Any, rows: list[dict[str, Any]], tokenizer: Any) -> None:
    """The transformers Trainer with its defaults, each batch padded to its longest row."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=RATE,
            use_cpu=not torch.cuda.is_available(), save_strategy="no", report_to="none",
            disable_tqdm=True, logging_steps=10**6,
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer)
        own = Trainer(model, arguments, train_dataset=rows, data_collator=collator)
        own.remove_callback(PrinterCallback)
        own.train()


def main() -> None:
    """Measure in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    silence.quiet()
    source = weights.local(asked.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = texts(asked.examples)

    def fresh() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(source, num_labels=CLASSES)

    room, loop = step_by_step(fresh, rows)
    low, middle, high = median(loop / room)
    print(
        f"step by step, fp32: the room {1000 * np.median(room):.1f} ms, a bare loop "
        f"{1000 * np.median(loop):.1f} ms; {middle:.3f} of its speed ({low:.3f} to {high:.3f})\n"
    )
    ways = {
        "Trainer's defaults": lambda: plain(fresh(), rows, tokenizer),
        "training room, fp32": lambda: ours(fresh(), rows, "fp32"),
        "training room, bf16": lambda: ours(fresh(), rows, "bf16"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - begun)
    usual = float(np.median(taken["Trainer's defaults"]))
    print("| way | examples/s | of the Trainer's defaults |\n|---|---|---|")
    for name, seconds in taken.items():
        middle = float(np.median(seconds))
        print(f"| {name} | {asked.examples / middle:.1f} | {usual / middle:.2f} |")


def median(values: Any) -> tuple[float, float, float]:
    """The median between the order statistics that hold it with 95 %."""
    ordered = np.sort(values)
    half = 0.98 * len(values) ** 0.5
    places = len(values) / 2 + np.asarray([-half, 0.0, half])
    low, middle, high = ordered[np.clip(places.astype(int), 0, len(values) - 1)]
    return float(low), float(middle), float(high)


if __name__ == "__main__":
    main()
