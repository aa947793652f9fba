from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import torch
from transformers import AutoTokenizer

from backends.base import Context, Data, Interrupted, Step
from backends.data import Labelled
from backends.finetune import BACKEND, contrastive, encoders


def step(folder: Path, **settings: Any) -> Step:
    tiny_bert.model_folder(folder / "base")
    tiny_bert.csv_file(folder / "train.csv", tiny_bert.rows(60, seed=1))
    tiny_bert.csv_file(folder / "test.csv", tiny_bert.rows(90, seed=2))
    data = Data(train=str(folder / "train.csv"), test=str(folder / "test.csv"))
    settings = {"train": "contrastive", "learning_rate": 3e-3} | settings
    settings = {"precision": "fp32", **settings}
    return Step("few", "head-ft", str(folder / "base"), data=data, settings=settings)


def test_the_loss_is_that_of_the_paper() -> None:
    vectors = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    labels = torch.tensor([0, 1, 0])
    near = 2**-0.5 / contrastive.TEMPERATURE
    first = -near + float(torch.tensor([0.0, near]).logsumexp(0))
    third = float(torch.tensor([near, near]).logsumexp(0)) - near
    found = contrastive.contrast(vectors, labels)
    assert float(found) == pytest.approx((first + third) / 3, rel=1e-5)


def apart(folder: Path) -> float:
    """How much nearer texts are to others of their class than to the rest (cosine)."""
    model = encoders.load(str(folder), "it")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    listed = tiny_bert.rows(60, seed=3)
    vectors = encoders.vectors(model, tokenizer([text for text, _ in listed])["input_ids"], 0)
    near = torch.nn.functional.normalize(vectors, dim=-1)
    near = near @ near.T
    same = torch.tensor([[a == b for _, a in listed] for _, b in listed])
    return float(near[same].mean() - near[~same].mean())


def test_it_draws_classes_apart_and_then_tells_them(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    (tmp_path / "run").mkdir()
    asked = step(tmp_path)
    result = BACKEND.run(asked, Context(tmp_path / "run"))
    taken = BACKEND.pace(asked, Labelled("a text", "card", 1), result.counts["train"])
    assert taken == (result.settings["epochs"], result.settings["micro_batch"]) == (64.0, 64)
    metrics = result.metrics
    assert metrics["accuracy"].value > metrics["baseline_majority_accuracy"].value + 0.5
    assert "gain_over_linear_head" in metrics
    again = BACKEND.evaluate(tmp_path / "run", Data(test=str(tmp_path / "test.csv")))
    assert again["accuracy"] == metrics["accuracy"] and again["ece"] == metrics["ece"]
    assert apart(tmp_path / "run" / "model") > apart(tmp_path / "base") + 0.3
    said = list(BACKEND.predict(tmp_path / "run", ["my card pin", "loan rate"]))
    assert [one.label for one in said] == ["card", "loan"]


def test_it_resumes_to_the_same_bits(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    one = step(tmp_path, epochs=6, compare=False)
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    BACKEND.run(one, Context(tmp_path / "whole"))
    seen = tiny_bert.Recorder(stop_at=4)
    with pytest.raises(Interrupted, match="step 4 of 6"):
        BACKEND.run(one, Context(tmp_path / "part", progress=seen, should_stop=seen.should_stop))
    BACKEND.run(one, Context(tmp_path / "part", resume=True))
    files = [tmp_path / name / "model" / "model.safetensors" for name in ("whole", "part")]
    assert files[0].read_bytes() == files[1].read_bytes()
