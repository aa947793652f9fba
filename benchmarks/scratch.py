"""Training from scratch and continued, against published figures, baselines and other parsers.

    python benchmarks/scratch.py shakespeare --data FILE [--seeds 1 2 3]
    python benchmarks/scratch.py tunes --data FOLDER [--parser FOLDER_WITH_MUSIC21]
    python benchmarks/scratch.py continued --data FOLDER --general FILE
    python benchmarks/scratch.py speed --data FILE [--rounds 5]

Each part runs plans through the runner and goes on where it was stopped. `shakespeare` is the
preset `char-cpu`, with the loss foretold from short runs; `tunes` needs music21, which is no
dependency of the project; `continued` continues the packaged encoder with and without replay;
`speed` sets the training beside a bare torch loop over the same model, in turn, best round of each.
"""

import argparse
import json
import math
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from backends import runner
from backends.base import Context, Data, Plan, Step
from backends.scratch import architectures, sequences
from backends.scratch.measures import Reader
from backends.scratch.objectives import causal
from backends.scratch.stream import Stream, write_shards
from backends.training import Training, precision
from backends.training.meter import Meter
from backends.training.streaming import Course, teach

WARM, STEPS = 5, 60  # steps before the clock runs, and while it does
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
    folder = asked.out / "tunes-data"
    train, held = written(asked.data, folder)
    settings = {
        "vocabulary": "characters", "layers": 4, "width": 128, "heads": 4, "max_length": 360,
        "micro_batch": 6, "max_steps": asked.steps, "most_epochs": 40,
        "learning_rate": 3e-3, "beta2": 0.99, "floor": 0.0, "warmup": 40, "sequence": "abc",
        "samples": 100, "sample_tokens": 354, "temperature": asked.temperature,
        "compile": False, "prompt": "X:1\n",
    }  # fmt: skip
    data = Data(train=str(folder / "train.jsonl"), validation=str(folder / "held.jsonl"))
    found = result("tunes", 1, asked.out, Step("pretrain", "scratch", data=data, settings=settings))
    lines = (asked.out / "tunes" / "samples.jsonl").read_text().splitlines()
    drawn = [json.loads(line)["text"] for line in lines]
    copied = sum(any(body(one) in body(real) for real in train) for one in drawn)
    if asked.parser:
        sys.path.insert(0, str(asked.parser))
    print("| tunes | read by music21, full bars add up | own check |\n|---|---|---|")
    for name, some in (("drawn", drawn), ("held out, real", held)):
        theirs = sum(other_fault(tune) is None for tune in some)
        ours = sum(sequences.fault("abc", tune) is None for tune in some)
        print(
            f"| {name} ({len(some)}) | {theirs} ({theirs / len(some):.0%}) "
            f"| {ours} ({ours / len(some):.0%}) |"
        )
    print(f"\nof the drawn tunes {copied} are copies of one learnt from\n")
    print("| model | bits per character |\n|---|---|")
    for order in (3, 4, 5, 6):
        print(f"| {order}-gram, Witten-Bell | {ngram_bits(train, held, order):.3f} |")
    print(f"| this one, {found.seconds:.0f} s | {found.metrics['bits_per_byte'].value:.3f} |")


def written(source: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Jigs and reels without their titles, every tenth held out, as JSONL."""
    texts = []
    for path in sorted(source.rglob("*.abc")):
        if "ABC_cleaned" in str(path) and path.name.startswith(("jigs", "reels")):
            texts += [bare(text) for text in re.split(r"\n\s*\n", path.read_text())]
    texts = sorted({text for text in texts if text})
    parts = [t for n, t in enumerate(texts) if n % 10], texts[::10]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "held"), parts, strict=True):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / f"{name}.jsonl").write_text(lines)
    return parts


def bare(text: str) -> str:
    """A tune with metre, unit, key and notes alone.

    The unit of lengths is written out where the tune leaves it to the standard (an eighth, a
    sixteenth in short metres): half of the tunes are in quarters, and say so.
    """
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if not lines or not lines[0].startswith("X:"):
        return ""
    kept = [line for line in lines if line and not re.match(r"[XTSYPNCOQ]:|%", line)]
    if not any(line.startswith("L:") for line in kept):
        metre = next((line for line in kept if re.match(r"M:\d+/\d+$", line)), "M:4/4")
        above, below = metre[2:].split("/")
        kept.insert(1, "L:1/16" if int(above) / int(below) < 0.75 else "L:1/8")
    return "\n".join(["X:1", *kept])


def body(tune: str) -> str:
    """The notes alone, to find copies."""
    return re.sub(r"\s", "", re.sub(r"(?m)^[A-Z]:.*$", "", tune))


def other_fault(tune: str) -> str | None:
    """What music21 finds wrong: it cannot read it, or a full bar does not add up."""
    import music21

    try:
        score = music21.converter.parse(tune, format="abc")
    except Exception as error:
        return f"not read: {error}"
    bars = list(score.recurse().getElementsByClass(music21.stream.Measure))
    if not list(score.recurse().notes):
        return "no notes"
    for number, bar in enumerate(bars):
        want = bar.barDuration.quarterLength
        have = bar.duration.quarterLength
        edge = number in (0, len(bars) - 1) or shared(bars, number)
        if have > want or (have < want and not edge):
            return f"bar {number}: {have} of {want}"
    return None


def shared(bars: list[Any], number: int) -> bool:
    """Whether a bar stands beside a repeat or double bar, so that it may be part of one."""
    near = [bars[number].rightBarline, bars[number].leftBarline, bars[number - 1].rightBarline]
    if number + 1 < len(bars):
        near.append(bars[number + 1].leftBarline)
    return any(line is not None and line.type != "regular" for line in near)


def ngram_bits(train: list[str], held: list[str], order: int) -> float:
    """Bits for each character of an n-gram model, interpolated as Witten and Bell do.

    Source: https://doi.org/10.1109/18.87000.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    letters = {letter for text in train for letter in text} | {"\0"}
    for text in train:
        padded = "\0" * order + text + "\0"
        for at in range(order, len(padded)):
            for back in range(order):
                counts[padded[at - back : at]][padded[at]] += 1
    bits, said = 0.0, 0
    for text in held:
        padded = "\0" * order + text + "\0"
        for at in range(order, len(padded)):
            chance = 1 / (len(letters) + 1)
            for back in range(order):
                seen = counts.get(padded[at - back : at])
                if seen:
                    total, kinds = seen.total(), len(seen)
                    chance = (seen[padded[at]] + kinds * chance) / (total + kinds)
            bits -= math.log2(chance)
        said += len(text)
    return bits / said


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
    """Tokens per second of the training, and of a bare loop over the same model."""
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

    def bare(arithmetic: str) -> float:
        model = fresh()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True
        )
        begun = 0.0
        for step in range(WARM + STEPS):
            if step == WARM:
                begun = time.perf_counter()
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
        return STEPS * rows * length / (time.perf_counter() - begun)

    def ours(arithmetic: Any) -> float:
        model, marks = fresh(), []
        settings = Training(
            learning_rate=1e-3, micro_batch=rows, precision=arithmetic, beta2=0.99, warmup=10,
            schedule="cosine", weight_decay=0.1,
        )  # fmt: skip
        course = Course(
            stream=Stream(shards, length, rows, 1), loss=Reader(causal, length, rows).loss(0.0),
            evaluate=None, data="", steps=WARM + STEPS, save_steps=10**6, evaluate_steps=10**6,
            compile=False,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder, Meter() as meter:
            groups = [{"params": list(model.parameters()), "lr": 1e-3}]
            look = lambda: bool(marks.append(time.perf_counter()))  # noqa: E731 (after each step)
            teach(model, groups, course, settings, Context(Path(folder), should_stop=look), meter)
        return (STEPS - 1) * rows * length / (marks[-1] - marks[WARM])

    ways = {
        "bare loop, fp32": lambda: bare("fp32"),
        "training, fp32": lambda: ours("fp32"),
        "bare loop, bf16": lambda: bare("bf16"),
        "training, bf16": lambda: ours("bf16"),
    }
    best = dict.fromkeys(ways, 0.0)
    for _ in range(asked.rounds):
        for name, way in ways.items():
            best[name] = max(best[name], way())
    print("| way | tokens/s | of its bare loop |\n|---|---|---|")
    for name, value in best.items():
        peer = best[f"bare loop, {name.rpartition(' ')[2]}"]
        print(f"| {name} | {value:,.0f} | {value / peer:.2f} |")


def main() -> None:
    """Run the part that is asked for and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["shakespeare", "tunes", "continued", "speed"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/scratch"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--parser", type=Path)
    parser.add_argument("--general", type=Path)
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--replay", type=float, nargs="+", default=[0.0, 0.25])
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    parts = {"shakespeare": shakespeare, "tunes": tunes, "continued": continued, "speed": speed}
    parts[asked.part](asked)


if __name__ == "__main__":
    main()
