from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import tiny_llama
import torch
from transformers import AutoModelForSequenceClassification

from backends import finetune, peft
from backends.base import Context, Data, Step
from backends.finetune import classifiers, generators
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
TEXTS = [text for text, _ in tiny_bert.rows(40, seed=9)]


def classify(folder: Path, method: str, **settings: Any) -> Step:
    tiny_bert.model_folder(folder / "base")
    tiny_bert.csv_file(folder / "train.csv", tiny_bert.rows(240, seed=1))
    tiny_bert.csv_file(folder / "test.csv", tiny_bert.rows(90, seed=2))
    quick = {"epochs": 10, "learning_rate": 3e-3, "micro_batch": 16, "precision": "fp32"}
    data = Data(train=str(folder / "train.csv"), test=str(folder / "test.csv"))
    settings = {**quick, "compare": False, **settings}
    return Step("small", method, str(folder / "base"), data=data, settings=settings)


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_a_classifier_in_fewer_bits_is_smaller_and_nearly_as_good(
    tmp_path: Path, bits: str
) -> None:
    torch.set_num_threads(1)
    result = finetune.BACKEND.run(classify(tmp_path, "full-ft", deliver=bits), Context(tmp_path))
    metrics = result.metrics
    assert metrics["accuracy"].value > 0.9
    assert metrics[f"{bits}_accuracy"].value == pytest.approx(
        metrics["accuracy"].value + metrics[f"{bits}_minus_full"].value
    )
    assert metrics[f"{bits}_minus_full"].value > -0.1
    assert metrics[f"{bits}_bytes"].value < 0.6 * metrics["full_bytes"].value
    assert metrics[f"{bits}_texts_per_second"].value > 0
    folder = tmp_path / f"model-{bits}"
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    assert plain.is_quantized
    again = [list(classifiers.load(folder).predictions(TEXTS)) for _ in range(2)]
    assert again[0] == again[1]
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt")]


def test_a_merged_adapter_that_answers_is_delivered_too(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = tiny_llama.model_folder(tmp_path / "base")
    train = tiny_llama.jsonl_file(tmp_path / "train.jsonl", tiny_llama.pairs(80, 1))
    settings = {"epochs": 1, "micro_batch": 4, "merge": True, "deliver": "int8"}
    data = Data(train=train, test=tiny_llama.jsonl_file(tmp_path / "t.jsonl", tiny_llama.pairs(9)))
    step = Step("small", "lora", str(base), data=data, settings={**settings, "compare": False})
    result = peft.BACKEND.run(step, Context(tmp_path))
    assert result.metrics["int8_accuracy"].n == 9
    assert next(generators.load(tmp_path / "model-int8").predictions(["capital of peru"])).answer
    again = Step("small", "lora", str(base), data=data, settings={"deliver": "int8"})
    with pytest.raises(UserError, match="deliver: int8 needs a whole model"):
        peft.BACKEND.check(again, Context(tmp_path))
    with pytest.raises(UserError, match="deliver: int4 needs a whole model"):
        finetune.BACKEND.check(classify(tmp_path, "head-ft", deliver="int4"), Context(tmp_path))
