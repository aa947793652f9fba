import math
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bert
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backends.base import Context, Interrupted
from backends.training import Training, checkpoints, silence, trainer
from backends.training.meter import Meter
from backends.training.trainer import Lesson
from knowledge.errors import UserError

SETTINGS = Training(
    learning_rate=3e-3, epochs=3, micro_batch=4, save_steps=4, logging_steps=1, precision="fp32"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    silence.quiet()
    return tiny_bert.model_folder(tmp_path_factory.mktemp("base"))


def lesson(base: Path, count: int = 30, validate: bool = False, **changes: Any) -> Lesson:
    tokenizer = AutoTokenizer.from_pretrained(base)
    kinds = list(tiny_bert.KINDS)

    def made(seed: int) -> list[dict[str, Any]]:
        return [
            {"input_ids": tokenizer(text)["input_ids"], "labels": kinds.index(label)}
            for text, label in tiny_bert.rows(count, seed)
        ]

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        return cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    def measure(said: Any) -> dict[str, float]:
        return {"accuracy": float((said.predictions.argmax(-1) == said.label_ids).mean())}

    found = Lesson(made(0), loss, 0, made(1) if validate else None, measure)
    return found._replace(**changes)


def classifier(base: Path) -> Any:
    torch.manual_seed(1)
    return AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)


def train(
    base: Path, folder: Path, settings: Training = SETTINGS, resume: bool = False, **options: Any
) -> tuple[dict[str, torch.Tensor], trainer.Trained]:
    seen = options.pop("recorder", tiny_bert.Recorder())
    what = options.pop("lesson", None) or lesson(base, **options)
    folder.mkdir(exist_ok=True)
    context = Context(folder, seed=5, resume=resume, progress=seen, should_stop=seen.should_stop)
    model = classifier(base)
    groups = [{"params": list(model.parameters()), "lr": settings.learning_rate}]
    with Meter() as meter:
        trained = trainer.train(model, groups, what, settings, context, meter)
    return tiny_bert.state(model), trained


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return train(base, tmp_path_factory.mktemp("whole"))[0]


# 8 steps an epoch: within the first epoch, at a checkpoint, at an epoch's end, in a later epoch.
@pytest.mark.parametrize("at", [3, 4, 8, 19])
def test_a_stopped_run_resumes_to_the_same_bits(
    base: Path, undisturbed: dict[str, torch.Tensor], tmp_path: Path, at: int
) -> None:
    with pytest.raises(Interrupted, match=f"step {at} of 24"):
        train(base, tmp_path, recorder=tiny_bert.Recorder(stop_at=at))
    assert (tmp_path / "checkpoints" / f"checkpoint-{at}" / "seal.json").is_file()
    weights, trained = train(base, tmp_path, resume=True)
    assert trained.resumed_from == at
    assert trained.steps == 24
    assert tiny_bert.same(weights, undisturbed)


def test_resume_is_bitwise_with_accumulation_validation_and_an_uneven_last_step(
    base: Path, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(SETTINGS, accumulation=3, patience=9)
    whole, _ = train(base, tmp_path / "whole", settings, validate=True)
    stop = tiny_bert.Recorder(stop_at=5)
    with pytest.raises(Interrupted):
        train(base, tmp_path / "part", settings, validate=True, recorder=stop)
    part, trained = train(base, tmp_path / "part", settings, resume=True, validate=True)
    assert trained.steps == 9
    assert tiny_bert.same(part, whole)


def test_a_cut_off_checkpoint_is_dropped_and_the_one_before_taken(
    base: Path, undisturbed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(base, tmp_path, recorder=tiny_bert.Recorder(stop_at=9))
    newest = tmp_path / "checkpoints" / "checkpoint-9"
    content = (newest / "model.safetensors").read_bytes()
    (newest / "model.safetensors").write_bytes(content[: len(content) // 2])
    weights, trained = train(base, tmp_path, resume=True)
    assert trained.resumed_from == 8
    assert "checkpoint-9 was cut off" in trained.notes[0]
    assert tiny_bert.same(weights, undisturbed)


def test_a_finished_training_is_restored_without_another_step(
    base: Path, undisturbed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    train(base, tmp_path)
    recorder = tiny_bert.Recorder()
    weights, trained = train(base, tmp_path, resume=True, recorder=recorder)
    assert recorder.bars == []
    assert trained.steps == 24
    assert tiny_bert.same(weights, undisturbed)


def test_other_data_cannot_be_resumed_with(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(base, tmp_path, recorder=tiny_bert.Recorder(stop_at=3))
    with pytest.raises(UserError, match="not those of checkpoint-3"):
        train(base, tmp_path, resume=True, count=33)


class Mischief:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("loaded",))


def test_a_pickle_from_elsewhere_is_refused_unread(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Interrupted):
        train(base, tmp_path, recorder=tiny_bert.Recorder(stop_at=3))
    checkpoint = tmp_path / "checkpoints" / "checkpoint-3"
    assert not (checkpoint / "training_args.bin").exists()
    size = (checkpoint / "optimizer.pt").stat().st_size
    torch.save(Mischief(), checkpoint / "optimizer.pt")
    padding = b"\0" * (size - (checkpoint / "optimizer.pt").stat().st_size)
    with (checkpoint / "optimizer.pt").open("ab") as file:
        file.write(padding)
    with pytest.raises(UserError, match=r"'optimizer\.pt', which this run did not write"):
        train(base, tmp_path, resume=True)
    assert "loaded" not in capsys.readouterr().out


def test_a_loss_that_is_no_number_stops_before_the_weights_are_spoilt(
    base: Path, tmp_path: Path
) -> None:
    calls = 0

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(outputs.logits, labels) * (math.nan if calls == 6 else 1.0)

    what = lesson(base, loss=loss)
    with pytest.raises(UserError, match=r"became nan in step 6 .*checkpoints/checkpoint-4 is kept"):
        train(base, tmp_path, lesson=what)
    found = checkpoints.last(tmp_path / "checkpoints")
    assert found is not None and found[1].step == 4


def test_accumulated_micro_batches_learn_as_one_batch(base: Path, tmp_path: Path) -> None:
    def weights(micro: int, accumulation: int) -> dict[str, torch.Tensor]:
        settings = msgspec.structs.replace(
            SETTINGS, micro_batch=micro, accumulation=accumulation, max_steps=1, warmup=0
        )
        what = lesson(base, count=8)
        model = classifier(base).eval()
        torch.manual_seed(0)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        groups = [{"params": list(model.parameters()), "lr": 1e-3}]
        folder = tmp_path / f"{micro}"
        folder.mkdir()
        with Meter() as meter:
            trainer.train(model, groups, what, settings, Context(folder), meter)
        return tiny_bert.state(model)

    one, four = weights(8, 1), weights(2, 4)
    moved = max(float((one[k] - classifier(base).state_dict()[k]).abs().max()) for k in one)
    apart = [
        float((one[key] - four[key]).abs().mean()) for key in one if one[key].is_floating_point()
    ]
    assert moved > 5e-4
    assert max(apart) < 2e-5


def test_it_stops_early_and_keeps_the_best(base: Path, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(
        SETTINGS, epochs=30, patience=3, micro_batch=10, save_steps=10, logging_steps=10
    )
    weights, trained = train(base, tmp_path, settings, validate=True, count=120)
    assert trained.steps < 360
    assert trained.best is not None and trained.best > 0.9
    again, _ = train(base, tmp_path, settings, validate=True, count=120, resume=True)
    assert tiny_bert.same(weights, again)


def test_progress_and_metrics_are_written_and_stdout_stays_clean(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = tiny_bert.Recorder()
    settings = msgspec.structs.replace(
        SETTINGS, epochs=12, micro_batch=10, learning_rate=1e-2, save_steps=1000
    )
    train(base, tmp_path, settings, recorder=recorder, count=60)
    assert recorder.bars[0] == ("training", 72, "steps")
    assert recorder.done["training"] == list(range(73))
    lines = [
        msgspec.json.decode(line) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    ]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 72
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""


def test_only_so_many_checkpoints_are_kept(base: Path, tmp_path: Path) -> None:
    train(base, tmp_path)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["checkpoint-20", "checkpoint-24"]


def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-8" in str(path):
            raise OSError(28, "No space left on device")
        written(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(base, tmp_path)
    monkeypatch.undo()
    found = checkpoints.last(tmp_path / "checkpoints")
    assert found is not None and found[1].step == 4
    assert not (tmp_path / "checkpoints" / "checkpoint-8").exists()


def test_seconds_add_up_over_an_interruption(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(base, tmp_path, recorder=tiny_bert.Recorder(stop_at=12))
    before = checkpoints.last(tmp_path / "checkpoints")
    assert before is not None and before[1].seconds > 0 and before[1].peak_bytes > 0
    model = classifier(base)
    groups = [{"params": list(model.parameters()), "lr": 3e-3}]
    with Meter() as meter:
        own = meter.seconds
        trainer.train(
            model, groups, lesson(base), SETTINGS, Context(tmp_path, seed=5, resume=True), meter
        )
    assert meter.seconds > before[1].seconds + own


def test_steps_are_counted_as_the_trainer_does() -> None:
    steps = partial(trainer.total_steps, settings=Training(epochs=2, micro_batch=4, accumulation=3))
    assert steps(24) == 4
    assert steps(25) == 6
    assert trainer.total_steps(1000, Training(max_steps=7)) == 7
