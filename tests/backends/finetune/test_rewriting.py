"""Models of two halves, plans of two steps, and data at the edges."""

import math
from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import tiny_llama
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import SequenceClassifierOutput

from backends import finetune, peft, runner
from backends.base import Context, Data, Interrupted, Plan, Step
from backends.finetune import tuned
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
FAST = {"epochs": 12, "micro_batch": 8, "learning_rate": 1e-2, "precision": "fp32"}


def t5(folder: Path) -> Path:
    torch.manual_seed(0)
    words = tiny_llama.tokenizer(None)
    config = T5Config(
        vocab_size=len(words), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def capitals(folder: Path, count: int = 160) -> Data:
    train = tiny_llama.jsonl_file(folder / "train.jsonl", tiny_llama.pairs(count, 1))
    return Data(train=train, test=tiny_llama.jsonl_file(folder / "t.jsonl", tiny_llama.pairs(30)))


@pytest.mark.parametrize(
    ("method", "own"),
    [("full-ft", {}), ("lora", {"rank": 8}), ("adapter-sequential", {"width": 16})],
)
def test_an_encoder_with_a_decoder_learns_to_rewrite(
    tmp_path: Path, method: str, own: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    base = t5(tmp_path / "base")
    step = Step("x", method, str(base), data=capitals(tmp_path), settings={**FAST, **own})
    backend = finetune.BACKEND if method == "full-ft" else peft.BACKEND
    backend.check(step, Context(tmp_path))
    result = backend.run(step, Context(tmp_path))
    metrics = result.metrics
    assert metrics["loss"].value < 0.8 * metrics["baseline_untuned_loss"].value
    if method == "full-ft":
        assert metrics["exact_match"].value > metrics["baseline_untuned_exact_match"].value + 0.5
        said = [p.answer for p in backend.predict(tmp_path, ["capital of peru"])]
        model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
        talk = [{"role": "user", "content": "capital of peru"}]
        inputs = tokenizer(tokenizer.apply_chat_template(talk, tokenize=False), return_tensors="pt")
        plain = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False
        )
        assert said == [tokenizer.decode(plain[0], skip_special_tokens=True).strip()]


def test_a_plan_of_two_steps_is_stopped_and_resumed_as_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = tiny_llama.model_folder(tmp_path / "base")
    data = capitals(tmp_path, 60)
    short = {**FAST, "epochs": 2, "compare": False, "packing": False}
    plan = Plan(
        "two",
        (
            Step("first", "full-ft", str(base), data=data, settings=short),
            Step("second", "lora", "step:first", data=data, settings={**short, "rank": 4}),
        ),
    )
    runner.run(plan, tmp_path / "whole")

    class Stops(tiny_bert.Recorder):
        def advance(self, done: int, **figures: float) -> None:
            super().advance(done, **figures)
            trainings = [bar for bar in self.bars if bar[0] == "training"]
            if len(trainings) == 2 and self.bars[-1][0] == "training" and done == 9:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        runner.run(plan, tmp_path / "part", progress=Stops())
    assert runner.result(tmp_path / "part").status == "stopped"
    result = runner.run(plan, tmp_path / "part", resume=True)
    assert [step.name for step in result.steps] == ["first", "second"]
    both = [
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "part")
    ]
    assert tiny_bert.same(*both)


def test_ten_thousand_classes_and_one_example_of_each_are_no_obstacle(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = tiny_bert.model_folder(tmp_path / "base")
    words = tiny_bert.words()
    listed = [
        (f"{words[n % 20]} {words[n // 20 % 20]} {words[n // 400 % 20]}", f"class {n}")
        for n in range(10_000)
    ]
    train = tiny_bert.csv_file(tmp_path / "train.csv", listed)
    test = tiny_bert.csv_file(tmp_path / "test.csv", listed[:20])
    settings = {"train": "all", "max_steps": 2, "micro_batch": 64, "compare": False}
    step = Step("x", "head-ft", str(base), data=Data(train=train, test=test), settings=settings)
    result = finetune.BACKEND.run(step, Context(tmp_path))
    assert result.counts["classes"] == 10_000
    lone = tiny_bert.csv_file(tmp_path / "one.csv", listed[:1])
    one = Step("x", "head-ft", str(base), data=Data(train=lone, test=test), settings=settings)
    with pytest.raises(UserError, match="has one class only"):
        finetune.BACKEND.check(one, Context(tmp_path))


@pytest.mark.parametrize(("weights", "rare", "common"), [("none", 1, 1), ("balanced", 2, 2 / 3)])
def test_rare_classes_count_as_much_as_common_ones_when_balanced(
    weights: Any, rare: float, common: float
) -> None:
    rows = [{"labels": 0}] * 3 + [{"labels": 1}]
    loss = tuned.class_loss(finetune.Settings(class_weights=weights), rows, 2)
    outputs = SequenceClassifierOutput(logits=torch.zeros(1, 2))
    for label, share in ((0, common), (1, rare)):
        found = float(loss(outputs, torch.tensor([label])))
        assert found == pytest.approx(math.log(2) * share, rel=1e-5)


def test_a_classifier_that_is_not_sure_may_abstain(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = tiny_bert.model_folder(tmp_path / "base")
    train = tiny_bert.csv_file(tmp_path / "train.csv", tiny_bert.rows(120, seed=1))
    settings = {"train": "head", "abstain_below": 0.9}
    step = Step("x", "head-ft", str(base), data=Data(train=train), settings=settings)
    result = finetune.BACKEND.run(step, Context(tmp_path))
    assert 0 < result.metrics["answered"].value < 1
    assert result.metrics["answered_accuracy"].value >= result.metrics["accuracy"].value
    said = list(finetune.BACKEND.predict(tmp_path, ["card pin chip plastic", "help with the"]))
    assert [one.abstained for one in said] == [False, True]
    assert said[1].label is None and said[1].confidence is not None
    assert (tmp_path / "errors.jsonl").is_file() and (tmp_path / "classes.json").is_file()
