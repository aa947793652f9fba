"""Steps of training from scratch beside nanoGPT and litgpt, each as it comes, in turn.

    python benchmarks/scratch.py speed --data FILE --peers FOLDER

FOLDER has checkouts of both under `nanoGPT` and `litgpt`, and what litgpt needs beside the project
(lightning, torchmetrics, jsonargparse) in `site`. Every contender is a process of its own that
trains the same size on the same tokens until it is ended: nanoGPT by its `train.py` as its README
says for processors, litgpt by its `pretrain.setup`, both with their own defaults of arithmetic,
compiling and optimizer. They take turns (the others are stopped meanwhile), and the median of the
times that each says of its own steps counts.
"""

import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from backends.base import Context
from backends.scratch import Settings, architectures, vocabulary
from backends.scratch.measures import Reader
from backends.scratch.objectives import causal
from backends.scratch.stream import Stream, open_shards, write_shards
from backends.training.meter import Meter
from backends.training.streaming import Course, teach

WARM = 5  # steps of each that are not counted
ROUNDS = 3
MILLISECONDS = re.compile(r"time:? (\d+\.\d+) ?ms")
OURS = {"ours": None, "ours, compile: true": True}  # as it chooses itself, and as wished
WHO = [*OURS, "nanoGPT", "litgpt"]
LONG = 10**6  # steps: nobody comes to the end
SAVES_NOTHING = 10**9


class Size(NamedTuple):
    """What all train; `steps` are those of the whole run, of which some are timed."""

    name: str
    vocabulary: str
    pieces: int | None
    layers: int
    width: int
    heads: int
    context: int
    rows: int
    steps: int
    rate: float


SIZES = {
    "char-cpu": Size("char-cpu", "characters", None, 4, 128, 4, 64, 12, 2000, 1e-3),
    "13.8M": Size("13.8M", "bpe", 8192, 6, 384, 6, 256, 8, 5000, 1e-3),
}


def compared(size: Size, text: Path, peers: Path, seconds: float) -> list[str]:
    """The rows of a table: each contender's median step and tokens per second.

    Args:
        seconds: that each trains in all, without its start.
    """
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as ends:
        folder = Path(name)
        prepared(size, text, folder)
        running = {}
        for who in WHO:
            log = folder / f"{who}.log"
            child = ends.enter_context(started(who, size, folder, peers.resolve(), log))
            _wait(child, log)
            running[who] = child, log
        for _ in range(ROUNDS):
            for child, _ in running.values():
                child.send_signal(signal.SIGCONT)
                time.sleep(seconds / ROUNDS)
                child.send_signal(signal.SIGSTOP)
        steps = {who: times(log)[WARM:] for who, (_, log) in running.items()}
        chosen = {who: _chosen(folder / who) for who in OURS}
    middle = {who: float(np.median(taken)) for who, taken in steps.items()}
    return [
        f"| {size.name} | {who}{chosen.get(who, '')} | {len(steps[who])} | {each:.1f} "
        f"| {1000 * size.rows * size.context / each:,.0f} | {each / middle['ours']:.2f} |"
        for who, each in middle.items()
    ]


def prepared(size: Size, text: Path, folder: Path) -> None:
    """The same tokens for all, as shards and as nanoGPT keeps them."""
    words = text.read_text()
    made = vocabulary.trained(size.vocabulary, [words], size.pieces)
    tokens = [token for part in vocabulary.encoded(made, [words]) for token in part]
    write_shards([tokens], folder / "shards", len(made), made.eos_token_id)
    data = folder / "nanoGPT" / "data" / "text"
    data.mkdir(parents=True)
    for part in ("train", "val"):
        np.asarray(tokens, dtype=np.uint16).tofile(data / f"{part}.bin")
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(made)}))
    (folder / "size.json").write_text(json.dumps([*size, len(made)]))


@contextlib.contextmanager
def started(
    who: str, size: Size, folder: Path, peers: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A contender that trains; it is ended with the context."""
    here = Path(__file__).resolve()
    paths = [str(here.parent.parent)]
    command = [sys.executable, "-u", str(here), who, str(folder)]
    where = folder / who
    where.mkdir(exist_ok=True)
    if who == "litgpt":
        paths += [str(peers / "litgpt"), str(peers / "site")]
    if who == "nanoGPT":
        for name in ("train.py", "model.py", "configurator.py", "config"):
            (where / name).symlink_to(peers / "nanoGPT" / name)
        command = [
            sys.executable, "-u", "train.py", "config/train_shakespeare_char.py", "--device=cpu",
            "--compile=False", "--dataset=text", "--log_interval=1", "--dropout=0.0",
            "--eval_iters=1", f"--eval_interval={SAVES_NOTHING}", f"--max_iters={LONG}",
            f"--lr_decay_iters={size.steps}", f"--block_size={size.context}",
            f"--batch_size={size.rows}", f"--n_layer={size.layers}", f"--n_head={size.heads}",
            f"--n_embd={size.width}",
        ]  # fmt: skip
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=where, env=own, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def _chosen(folder: Path) -> str:
    """What a training of ours chose for itself."""
    arithmetic, compiled = (
        (folder / f"{what}.txt").read_text().strip() for what in ("arithmetic", "compiled")
    )
    return f" ({arithmetic}, {'compiled' if compiled == 'yes' else 'not compiled'})"


def _wait(child: subprocess.Popen[bytes], log: Path) -> None:
    """Until it has taken its first steps; then it is stopped."""
    while len(times(log)) < WARM:
        if child.poll() is not None:
            raise SystemExit(f"it ended: {log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.2)
    child.send_signal(signal.SIGSTOP)


def times(log: Path) -> list[float]:
    """Milliseconds of each step that a contender has printed."""
    return [float(found) for found in MILLISECONDS.findall(log.read_text(errors="replace"))]


def ours(size: Size, pieces: int, folder: Path, who: str) -> None:
    """The project's training, with the arithmetic that it chooses itself."""
    shape = {"layers": size.layers, "width": size.width, "heads": size.heads}
    settings = Settings(**shape, learning_rate=size.rate, micro_batch=size.rows)  # type: ignore[arg-type]
    model = architectures.made(settings, range(pieces), size.context, 1).train()
    last = 0.0

    def look() -> bool:
        nonlocal last
        now = time.perf_counter()
        if last:
            print(f"time {1000 * (now - last):.3f}ms")
        last = now
        return False

    reader = Reader(causal, size.context, size.rows)
    course = Course(
        stream=Stream(open_shards(folder / "shards"), size.context, size.rows, 1),
        loss=reader.loss(0.0), prepared=reader.batch, evaluate=None, data="speed",
        steps=size.steps, save_steps=LONG, evaluate_steps=LONG, compile=OURS[who],
    )  # fmt: skip
    with Meter() as meter:
        context = Context(folder / who, should_stop=look)
        groups = [{"params": list(model.parameters()), "lr": size.rate}]
        teach(model, groups, course, settings, context, meter)


def litgpt(size: Size, pieces: int, folder: Path) -> None:
    """litgpt's own pretraining of a model of that size."""
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule
    from litgpt.pretrain import setup
    from torch.utils.data import DataLoader, Dataset

    tokens = np.fromfile(folder / "nanoGPT" / "data" / "text" / "train.bin", dtype=np.uint16)

    class Windows(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return (len(tokens) - 1) // size.context

        def __getitem__(self, at: int) -> torch.Tensor:
            begin = at * size.context
            return torch.from_numpy(tokens[begin : begin + size.context + 1].astype(np.int64))

    class Tokens(DataModule):  # type: ignore[misc]
        def connect(self, *_: Any, **__: Any) -> None:
            pass

        def train_dataloader(self) -> Any:
            return DataLoader(Windows(), batch_size=size.rows, shuffle=True, drop_last=True)

        val_dataloader = train_dataloader

    gated = architectures.config(
        "llama", architectures.Shape(size.layers, size.width, size.heads), pieces, size.context, 0.0
    ).intermediate_size
    setup(
        "size",
        model_config=Config(
            name="size", block_size=size.context, vocab_size=pieces, padded_vocab_size=pieces,
            n_layer=size.layers, n_head=size.heads, n_embd=size.width, rotary_percentage=1.0,
            parallel_residual=False, bias=False, norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP", intermediate_size=gated,
        ),
        out_dir=folder / "litgpt" / "out",
        data=Tokens(),
        train=TrainArgs(
            save_interval=None, log_interval=1, global_batch_size=size.rows,
            micro_batch_size=size.rows, max_tokens=LONG * size.rows * size.context, max_norm=1.0,
            lr_warmup_steps=100, tie_embeddings=True,
        ),
        eval=EvalArgs(interval=SAVES_NOTHING, max_iters=1, final_validation=False),
        logger_name="csv",
    )  # fmt: skip


def main() -> None:
    """Train as the contender that is named, until ended."""
    who, folder = sys.argv[1], Path(sys.argv[2])
    *size, pieces = json.loads((folder / "size.json").read_text())
    if who == "litgpt":
        litgpt(Size(*size), pieces, folder)
    else:
        ours(Size(*size), pieces, folder, who)


if __name__ == "__main__":
    main()
