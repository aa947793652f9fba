import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bert
import torch

from backends.base import Context, Data, Interrupted, Step
from backends.finetune import BACKEND
from backends.training import finder
from knowledge.errors import UserError

SLOW: dict[str, Any] = {
    "train": "all", "epochs": 6, "micro_batch": 16, "learning_rate": 1e-5,
    "head_learning_rate": 1e-5, "precision": "fp32", "compare": False,
}  # fmt: skip


def step(place: Path, **settings: Any) -> Step:
    tiny_bert.model_folder(place / "base")
    data = Data(
        train=tiny_bert.csv_file(place / "train.csv", tiny_bert.rows(240, seed=1)),
        test=tiny_bert.csv_file(place / "test.csv", tiny_bert.rows(90, seed=2)),
    )
    return Step("intents", "head-ft", str(place / "base"), data=data, settings={**SLOW, **settings})


def run(place: Path, name: str, **settings: Any) -> Any:
    (place / name).mkdir()
    return BACKEND.run(step(place, **settings), Context(place / name))


def test_a_rate_far_too_low_is_mended(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    usual = run(tmp_path, "usual")
    found = run(tmp_path, "found", find_learning_rate=True)
    assert found.metrics["accuracy"].value > usual.metrics["accuracy"].value + 0.2
    assert any("found by trying" in note for note in found.notes)
    times = float((tmp_path / "found" / finder.KEPT).read_text())
    assert times >= 27


def test_looking_leaves_no_trace_and_is_done_once(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    run(tmp_path, "found", find_learning_rate=True)
    times = float((tmp_path / "found" / finder.KEPT).read_text())
    rates = {"learning_rate": 1e-5 * times, "head_learning_rate": 1e-5 * times}
    run(tmp_path, "plain", **rates)
    folder = tmp_path / "cut"
    folder.mkdir()
    recorder = tiny_bert.Recorder(stop_at=20)
    context = Context(folder, progress=recorder, should_stop=recorder.should_stop)
    one = step(tmp_path, find_learning_rate=True)
    with pytest.raises(Interrupted):
        BACKEND.run(one, context)
    again = tiny_bert.Recorder()
    BACKEND.run(one, Context(folder, resume=True, progress=again))
    assert not any("finding" in bar for bar, _, _ in again.bars)
    weights = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("found", "plain", "cut")
    ]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.parametrize(("best", "found"), [(30.0, 27.0), (1.0, 1.0), (0.1, 1 / 9), (1e9, 3.0**8)])
def test_the_lowest_loss_is_walked_to_from_either_side(best: float, found: float) -> None:
    tried: list[float] = []

    def loss(times: float) -> float:
        tried.append(times)
        return abs(math.log(times / best))

    assert finder.lowest(loss) == pytest.approx(found)
    assert len(tried) <= finder.MOST_TRIALS


def test_a_loss_that_is_no_number_is_left_behind() -> None:
    assert finder.lowest(lambda t: math.nan if t > 0.3 else t + 1) < 0.3
    with pytest.raises(UserError, match="no number at any learning rate"):
        finder.lowest(lambda _: math.nan)


def test_the_setting_is_a_field_of_every_training() -> None:
    assert "find_learning_rate" in {f.name for f in msgspec.structs.fields(BACKEND.settings)}
