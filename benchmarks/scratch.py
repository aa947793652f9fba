"""Training from scratch and continued, against published figures, baselines and other parsers.

    python benchmarks/scratch.py shakespeare --data FILE [--seeds 1 2 3]
    python benchmarks/scratch.py tunes --data FOLDER [--parser FOLDER_WITH_MUSIC21]
    python benchmarks/scratch.py continued --data FOLDER --general FILE
    python benchmarks/scratch.py speed --data FILE [--steps 300] [--peers FOLDER]

Each part runs plans through the runner and goes on where it was stopped. `shakespeare` is the
preset `char-cpu`, with the loss foretold from short runs; `tunes` needs music21, which is no
dependency of the project; `continued` continues the packaged encoder with and without replay;
`speed` sets the training beside a bare torch loop over the same model, step by step in turn, or
with `--peers` beside nanoGPT and litgpt as they come.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scratch_peers
import scratch_tunes
import torch
from numpy.typing import NDArray
from training_speed import median
from transformers import LlamaForCausalLM

from backends import runner
from backends.base import Context, Data, Plan, Step
from backends.scratch import architectures, finished, sequences
from backends.scratch.measures import Reader
from backends.scratch.objectives import causal
from backends.scratch.stream import Stream, write_shards
from backends.training import Training, precision
from backends.training.meter import Meter
from backends.training.streaming import Course, teach

WARM = 5  # steps before the clock runs
PUBLISHED = 1.88  # https://github.com/karpathy/nanoGPT#quick-start, on a processor


def result(name: str, seed: int, out: Path, step: Step) -> Any:
    """The result of a step, run here or before."""
    folder = out / name
    plan = Plan(name=name, steps=(step,), seed=seed)
    return runner.run(plan, folder, resume=folder.exists()).steps[0]


def shakespeare(asked: argparse.Namespace) -> None:
    """Validation loss of the processor preset, and what was foretold of it."""
    rows = []
    for seed in asked.seeds:
        settings = {"preset": "char-cpu", "predict": True, "compile": False, "samples": 0}
        step = Step("pretrain", "scratch", data=Data(train=str(asked.data)), settings=settings)
        found = result(f"shakespeare-{seed}", seed, asked.out, step)
        figures = found.metrics
        rows.append((seed, figures["loss"].value, figures["predicted_loss"], figures))
    print("| seed | validation loss | foretold | interval | off | inside | bits per byte |")
    print("|---|---|---|---|---|---|---|")
    for seed, loss, told, figures in rows:
        inside = "yes" if told.low <= loss <= told.high else "no"
        print(
            f"| {seed} | {loss:.4f} | {told.value:.3f} | {told.low:.3f} to {told.high:.3f} | "
            f"{told.value / loss - 1:+.1%} | {inside} | {figures['bits_per_byte'].value:.3f} |"
        )
    mean = sum(loss for _, loss, _, _ in rows) / len(rows)
    print(f"\nmean of {len(rows)}: {mean:.2f}, published {PUBLISHED}")


def tunes(asked: argparse.Namespace) -> None:
    """How many drawn tunes are read by another parser with full bars that add up."""
    found = scratch_tunes.tunes(asked.data)
    folder = asked.out / "tunes-data"
    settings = {
        "vocabulary": "characters", "layers": 4, "width": 128, "heads": 4, "max_length": 512,
        "micro_batch": 7, "max_steps": asked.steps or 1500, "learning_rate": 3e-3, "beta2": 0.99,
        "floor": 0.0, "warmup": 40, "sequence": "abc", "samples": 0, "compile": False,
    }  # fmt: skip
    data = Data(
        train=str(scratch_tunes.written(found.every_key, folder / "train.jsonl")),
        validation=str(scratch_tunes.written(found.held, folder / "held.jsonl")),
    )
    step = result("tunes", 1, asked.out, Step("pretrain", "scratch", data=data, settings=settings))
    model = finished.load(asked.out / "tunes" / "model")
    passing = {
        temperature: sum(
            sequences.fault("abc", tune) is None
            for tune in scratch_tunes.drawn(model, temperature, 64, scratch_tunes.CHOOSING)
        )
        for temperature in scratch_tunes.TEMPERATURES
    }
    temperature = max(passing, key=lambda each: (passing[each], each))
    print(f"own check by temperature, of 64: {passing}; drawn at {temperature}\n")
    drawn = scratch_tunes.drawn(model, temperature, 100, scratch_tunes.JUDGED)
    learnt = [scratch_tunes.body(tune) for tune in found.every_key]
    copied = sum(any(scratch_tunes.body(tune) in real for real in learnt) for tune in drawn)
    if asked.parser:
        sys.path.insert(0, str(asked.parser))
    print("| tunes | read by music21, full bars add up | own check |\n|---|---|---|")
    for name, some in (("drawn", drawn), ("held out, real", found.held)):
        theirs = sum(scratch_tunes.other_fault(tune) is None for tune in some)
        ours = sum(sequences.fault("abc", tune) is None for tune in some)
        print(
            f"| {name} ({len(some)}) | {theirs} ({theirs / len(some):.0%}) "
            f"| {ours} ({ours / len(some):.0%}) |"
        )
    print(f"\nof the drawn tunes {copied} are copies of one learnt from\n")
    print("| model | bits per character |\n|---|---|")
    for name, texts in (("as written", found.plain), ("in every key", found.every_key)):
        for order in (4, 5, 6, 8):
            bits = scratch_tunes.ngram_bits(texts, found.held, order)
            print(f"| {order}-gram, Witten-Bell, tunes {name} | {bits:.3f} |")
    print(f"| this one, {step.seconds:.0f} s | {step.metrics['bits_per_byte'].value:.3f} |")


def continued(asked: argparse.Namespace) -> None:
    """The packaged encoder continued on a domain, with and without replay of general text."""
    print("| replay | domain before | after | falls | general before | after | rises |")
    print("|---|---|---|---|---|---|---|")
    for replay in asked.replay:
        settings = {
            "replay": replay, "max_length": 64, "micro_batch": 8, "tokens": asked.tokens,
            "compile": False, "evaluations": 5, "learning_rate": asked.rate,
            "validation_share": 0.05,
        }  # fmt: skip
        data = Data(train=str(asked.data), corpus=str(asked.general))
        step = Step("continue", "cpt", "all-minilm-l6-v2", data=data, settings=settings)
        figures = result(f"continued-{replay:g}", 1, asked.out, step).metrics
        values = [
            figures[name].value
            for name in ("loss_before", "loss", "loss_fall", "general_loss_before",
                         "general_loss", "general_loss_rise")
        ]  # fmt: skip
        print(f"| {replay:.0%} | " + " | ".join(f"{value:+.3f}" for value in values) + " |")


def speed(asked: argparse.Namespace) -> None:
    """Tokens per second of the training, and of a bare loop over the same model.

    After each step of the training the bare loop takes one of its own, so that whatever else the
    machine does meets both alike; the share is the median over the pairs of steps.
    """
    length, rows, vocabulary = 64, 12, 65
    text = asked.data.read_text()
    letters = {letter: number for number, letter in enumerate(sorted(set(text)))}
    tokens = torch.tensor([letters[letter] for letter in text])
    shards = write_shards([tokens.tolist()], asked.out / "speed-tokens", vocabulary + 1, vocabulary)
    shape = architectures.Shape(4, 128, 4)

    def fresh() -> Any:
        torch.manual_seed(1)
        found = architectures.config("llama", shape, vocabulary + 1, length, 0.0)
        return LlamaForCausalLM(found).train()

    def bare(arithmetic: str) -> Callable[[], None]:
        model = fresh()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True
        )

        def step() -> None:
            at = torch.randint(len(tokens) - length - 1, (rows,))
            both = torch.stack([tokens[i : i + length + 1] for i in at.tolist()])
            with precision.autocast(arithmetic == "bf16"):
                logits = model(input_ids=both[:, :-1]).logits
                flat = logits.float().view(-1, logits.shape[-1])
                loss = torch.nn.functional.cross_entropy(flat, both[:, 1:].reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    def seconds(arithmetic: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each step, of the bare loop's and of the training's."""
        reader = Reader(causal, length, rows)
        model, step, marks = fresh(), bare(arithmetic), list[tuple[float, float]]()

        def look() -> bool:
            ended = time.perf_counter()
            step()
            marks.append((ended, time.perf_counter()))
            return False

        settings = Training(
            learning_rate=1e-3, micro_batch=rows, precision=arithmetic, beta2=0.99, warmup=10,
            schedule="cosine", weight_decay=0.1,
        )  # fmt: skip
        course = Course(
            stream=Stream(shards, length, rows, 1), loss=reader.loss(0.0), prepared=reader.batch,
            evaluate=None, data="", steps=WARM + (asked.steps or 300), save_steps=10**6,
            evaluate_steps=10**6, compile=False,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, Meter() as meter:
            groups = [{"params": list(model.parameters()), "lr": 1e-3}]
            context = Context(Path(folder), should_stop=look)
            waits.append(teach(model, groups, course, settings, context, meter).waited or 0.0)
        ended, begun = np.asarray(marks[WARM - 1 :]).T
        return (begun - ended)[1:], ended[1:] - begun[:-1]

    waits: list[float] = []
    print("| way | ms a step | tokens/s | of its bare loop (95 %) |\n|---|---|---|---|")
    for arithmetic in ("fp32", "bf16"):
        taken = seconds(arithmetic)
        low, middle, high = median(taken[0] / taken[1])
        shares = "1", f"{middle:.3f} ({low:.3f} to {high:.3f})"
        for name, each, share in zip(("bare loop", "training"), taken, shares, strict=True):
            each_ms = 1000 * float(np.median(each))
            speed = 1000 * rows * length / each_ms
            print(f"| {name}, {arithmetic} | {each_ms:.2f} | {speed:,.0f} | {share} |")
    print(f"\nwaiting for tokens: {max(waits):.2%} of the time of a step")


def beside(asked: argparse.Namespace) -> None:
    """Tokens per second of the training, of nanoGPT and of litgpt, each as it comes."""
    print("| size | who | steps | ms a step | tokens/s | times ours |\n|---|---|---|---|---|---|")
    for size in asked.sizes:
        rows = scratch_peers.compared(
            scratch_peers.SIZES[size], asked.data, asked.peers, asked.seconds
        )
        print("\n".join(rows), flush=True)


def main() -> None:
    """Run the part that is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["shakespeare", "tunes", "continued", "speed"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/scratch"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, help="of tunes, speed")
    parser.add_argument("--parser", type=Path)
    parser.add_argument("--general", type=Path)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--replay", type=float, nargs="+", default=[0.0, 0.25])
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--peers", type=Path, help="of speed: checkouts of nanoGPT and litgpt")
    parser.add_argument("--sizes", nargs="+", default=list(scratch_peers.SIZES))
    parser.add_argument("--seconds", type=float, default=30.0, help="of each peer and size")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    parts = {"shakespeare": shakespeare, "tunes": tunes, "continued": continued, "speed": speed}
    part = beside if asked.part == "speed" and asked.peers else parts[asked.part]
    part(asked)


if __name__ == "__main__":
    main()
