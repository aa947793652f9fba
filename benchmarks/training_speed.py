"""Examples per second of the training room beside a bare torch loop and the Trainer as it comes.

    python benchmarks/training_speed.py [--model all-minilm-l6-v2] [--rounds 3]

The same encoder learns the same texts of random length in turn: by a bare loop in the room's own
order, by the room in fp32, by the transformers Trainer with its defaults, and by the room as it
chooses for itself. The rounds alternate, and the best round of each counts, so that other work on
the machine disturbs all alike. Shares matter, not seconds.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

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
from backends.training import Training, batches, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson

CLASSES, BATCH, RATE = 20, 16, 1e-4


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


def bare(model: Any, rows: list[dict[str, Any]]) -> None:
    """A loop with nothing but what learning needs."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    order = list(batches.Order([len(row["input_ids"]) for row in rows], BATCH, 13))
    for start in range(0, len(order), BATCH):
        batch = batches.padded([rows[n] for n in order[start : start + BATCH]], 0)
        labels = batch.pop("labels")
        loss(model(**batch), labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def ours(model: Any, rows: list[dict[str, Any]], precision: Any) -> None:
    """The training room."""
    with tempfile.TemporaryDirectory() as folder, Meter() as meter:
        settings = Training(
            learning_rate=RATE, epochs=1, micro_batch=BATCH, precision=precision, save_steps=10**6
        )
        groups = [{"params": list(model.parameters()), "lr": RATE}]
        keep = trainer.Room._save_checkpoint
        trainer.Room._save_checkpoint = lambda *_: None  # type: ignore[method-assign]
        try:
            trainer.train(
                model, groups, Lesson(rows, loss, 0), settings, Context(Path(folder)), meter
            )
        finally:
            trainer.Room._save_checkpoint = keep  # type: ignore[method-assign]


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
    """Measure in turn, and print a table of the best rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    silence.quiet()
    source = weights.local(asked.model)
    tokenizer = AutoTokenizer.from_pretrained(source)
    rows = texts(asked.examples)
    ways = {
        "bare loop, fp32": lambda model: bare(model, rows),
        "training room, fp32": lambda model: ours(model, rows, "fp32"),
        "Trainer's defaults": lambda model: plain(model, rows, tokenizer),
        "training room, bf16": lambda model: ours(model, rows, "bf16"),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(asked.rounds):
        for name, way in ways.items():
            model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=CLASSES)
            begun = time.perf_counter()
            way(model)
            best[name] = min(best[name], time.perf_counter() - begun)
    speed = {name: asked.examples / seconds for name, seconds in best.items()}
    print("| way | examples/s | of the bare loop | of the Trainer's defaults |\n|---|---|---|---|")
    for name, value in speed.items():
        shares = value / speed["bare loop, fp32"], value / speed["Trainer's defaults"]
        print(f"| {name} | {value:.1f} | {shares[0]:.2f} | {shares[1]:.2f} |")


if __name__ == "__main__":
    main()
