"""What goes wrong while training, and what is kept then."""

import math
import resource
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import tiny_bert
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backends.base import Context
from backends.training import Training, checkpoints, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson
from knowledge.errors import UserError

SETTINGS = Training(
    learning_rate=3e-3, max_steps=6, micro_batch=8, save_steps=2, logging_steps=1, precision="fp32"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    silence.quiet()
    return tiny_bert.model_folder(tmp_path_factory.mktemp("base"))


def lesson(base: Path, loss: Any = None) -> Lesson:
    tokenizer = AutoTokenizer.from_pretrained(base)
    kinds = list(tiny_bert.KINDS)
    rows = [
        {"input_ids": tokenizer(text)["input_ids"], "labels": kinds.index(label), "line": n + 2}
        for n, (text, label) in enumerate(tiny_bert.rows(48))
    ]

    def usual(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        return cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    return Lesson(rows, loss or usual, 0)


def classifier(base: Path) -> Any:
    torch.manual_seed(1)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def train(base: Path, folder: Path, most: int | None = None, **options: Any) -> Any:
    """Train on a device that has room for so many rows at once."""
    model = classifier(base)
    if most is not None:
        seen = options.setdefault("seen", [])

        def full(module: Any, args: Any, kwargs: Any) -> None:
            seen.append(len(kwargs["input_ids"]))
            if len(kwargs["input_ids"]) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")

        model.register_forward_pre_hook(full, with_kwargs=True)
    folder.mkdir(exist_ok=True)
    recorder = options.get("recorder", tiny_bert.Recorder())
    context = Context(folder, seed=5, progress=recorder)
    settings = options.get("settings", SETTINGS)
    with Meter() as meter:
        groups = [{"params": list(model.parameters()), "lr": settings.learning_rate}]
        what = options.get("lesson") or lesson(base)
        trained = trainer.train(model, groups, what, settings, context, meter)
    return tiny_bert.state(model), trained


@pytest.mark.parametrize(("micro", "accumulation"), [(8, 1), (4, 2)])
def test_out_of_memory_halves_what_is_seen_at_once_and_learns_the_same(
    base: Path, tmp_path: Path, micro: int, accumulation: int
) -> None:
    settings = msgspec.structs.replace(SETTINGS, micro_batch=micro, accumulation=accumulation)
    whole, _ = train(base, tmp_path / "whole", settings=settings)
    seen: list[int] = []
    recorder = tiny_bert.Recorder()
    part, trained = train(
        base, tmp_path / "part", most=2, settings=settings, seen=seen, recorder=recorder
    )
    assert trained.steps == 6
    apart = max(
        float((whole[k] - part[k]).abs().max()) for k in whole if whole[k].dtype.is_floating_point
    )
    assert apart < 2e-3
    assert recorder.notes[-1].startswith(
        "out of memory in step 1: from there on 2 examples at once"
    )
    assert set(trained.notes) == set(recorder.notes)
    assert seen.count(micro) == 1


def test_what_does_not_fit_even_alone_is_said_in_one_line(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not even one example of .* tokens fits into memory"):
        train(base, tmp_path, most=0)


def test_other_errors_are_not_taken_for_a_full_memory(base: Path, tmp_path: Path) -> None:
    def loss(*_: Any, **__: Any) -> torch.Tensor:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        train(base, tmp_path, lesson=lesson(base, loss))


def test_a_bad_batch_is_named_by_its_lines(base: Path, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, micro_batch=4)
    calls = 0

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(outputs.logits, labels) * (math.nan if calls == 4 else 1.0)

    what = lesson(base, loss)
    with pytest.raises(UserError, match=r"became nan in step 4 .*checkpoints/checkpoint-2") as told:
        train(base, tmp_path, lesson=what, settings=settings)
    order = list(trainer.Order([len(row["input_ids"]) for row in what.rows], 4, 5))
    lines = sorted(int(what.rows[n]["line"]) for n in order[12:16])
    assert f"in the batch of lines {', '.join(map(str, lines))}; " in str(told.value)


def test_a_row_that_is_bad_by_itself_is_named(base: Path, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, micro_batch=4)
    rows = lesson(base).rows
    wrong = list(trainer.Order([len(row["input_ids"]) for row in rows], 4, 5))[6]
    marked = [{**row, "labels": 2 * (n != wrong)} for n, row in enumerate(rows)]

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        each = cross_entropy(outputs.logits, labels, reduction="none")
        return (each + torch.where(labels == 0, math.nan, 0.0)).sum() / num_items_in_batch

    what = Lesson(marked, loss, 0)
    with pytest.raises(UserError, match=f"nan .*, by line {rows[wrong]['line']} alone; "):
        train(base, tmp_path, lesson=what, settings=settings)


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, {here!r})
    import torch; torch.set_num_threads(1)
    import test_room
    from knowledge.errors import UserError
    base, folder, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    from backends.training import room
    saved = room.Room._save_checkpoint
    def filling(self, *args, **kwargs):
        if self.state.global_step == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            return saved(self, *args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    room.Room._save_checkpoint = filling
    import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    from backends.training import silence; silence.quiet()
    try:
        test_room.train(base, folder)
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [1_000, 60_000])  # within the weights; within the optimizer's
def test_a_disk_that_fills_while_saving_leaves_the_old_checkpoint(
    base: Path, tmp_path: Path, limit: int
) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    code = textwrap.dedent(FULL_DISK.format(here=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(base), str(tmp_path), str(limit)],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot write" in done.stdout and "go on with --resume" in done.stdout, done.stderr
    found = checkpoints.last(tmp_path / "checkpoints")
    assert found is not None and found[1].step == 2
    assert not (tmp_path / "checkpoints" / "checkpoint-4").exists()


def test_the_arithmetic_is_measured_once_and_kept_for_a_resumed_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer.precision, "bf16", lambda wish: wish in ("auto", "bf16"))
    asked: list[bool] = []

    def measured(model: Any, learn: Any) -> bool:
        learn().backward()
        model.zero_grad()
        asked.append(True)
        return False

    monkeypatch.setattr(trainer.precision, "measured", measured)
    settings = msgspec.structs.replace(
        SETTINGS, precision="auto", max_steps=trainer.WORTH_MEASURING
    )
    _, trained = train(base, tmp_path, settings=settings)
    assert asked == [True] and not trained.bf16
    assert (tmp_path / trainer.ARITHMETIC).read_text() == "fp32"
    model = classifier(base)
    with Meter() as meter:
        again = Context(tmp_path, seed=5, resume=True)
        groups = [{"params": list(model.parameters()), "lr": 3e-3}]
        trained = trainer.train(model, groups, lesson(base), settings, again, meter)
    assert asked == [True] and not trained.bf16


def test_measuring_leaves_no_trace(base: Path) -> None:
    model = classifier(base).train()
    before = tiny_bert.state(model)
    chance = torch.get_rng_state()
    ids = torch.randint(4, 20, (4, 9), generator=torch.Generator().manual_seed(0))
    found = trainer.precision.measured(
        model, lambda: torch.nn.functional.dropout(model(input_ids=ids).logits).sum()
    )
    assert isinstance(found, bool)
    assert torch.equal(torch.get_rng_state(), chance)
    assert tiny_bert.same(before, tiny_bert.state(model))
    assert all(p.grad is None for p in model.parameters())


def test_the_time_of_all_is_foretold_after_twenty_steps(base: Path, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, max_steps=60, save_steps=1000)
    _, trained = train(base, tmp_path, settings=settings)
    assert trained.seconds is not None and trained.expected_seconds is not None
    assert 0.3 < trained.expected_seconds / trained.seconds < 3
    _, short = train(base, tmp_path / "short")
    assert short.expected_seconds is None and short.seconds is not None


def test_after_training_in_bf16_the_model_computes_as_its_weights_say(
    base: Path, tmp_path: Path
) -> None:
    model = classifier(base)
    settings = msgspec.structs.replace(SETTINGS, precision="bf16", max_steps=2)
    with Meter() as meter:
        groups = [{"params": list(model.parameters()), "lr": 3e-3}]
        trainer.train(model, groups, lesson(base), settings, Context(tmp_path, seed=5), meter)
    fresh = classifier(base)
    fresh.load_state_dict(model.state_dict())
    ids = torch.randint(4, 20, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.eval()(input_ids=ids).logits, fresh.eval()(input_ids=ids).logits)


def test_memory_does_not_grow_with_the_steps(base: Path, tmp_path: Path) -> None:
    seen: dict[int, int] = {}

    class Looking(tiny_bert.Recorder):
        def advance(self, done: int, **figures: float) -> None:
            super().advance(done, **figures)
            seen[done] = psutil.Process().memory_info().rss

    settings = msgspec.structs.replace(SETTINGS, max_steps=400, save_steps=1000)
    train(base, tmp_path, settings=settings, recorder=Looking())
    assert seen[400] - seen[100] < 8 * 2**20
