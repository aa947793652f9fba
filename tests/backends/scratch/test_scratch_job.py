"""Whole plans: new models of each family, continued ones, and what is refused before a step."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from backends import base, runner
from backends.base import Data, Plan, RunResult, Step
from backends.progress import Silence
from backends.scratch import ALIASES, Settings, learning, preparation
from backends.training import silence
from knowledge import pretraining
from knowledge.errors import UserError

SMALL = {
    "layers": 1, "width": 32, "heads": 2, "max_length": 32, "micro_batch": 8, "max_steps": 40,
    "vocabulary": "characters", "learning_rate": 1e-2, "precision": "fp32", "compile": False,
    "samples": 2, "sample_tokens": 12, "evaluations": 2, "logging_steps": 10,
}  # fmt: skip
WORDS = ["red fox", "old dog", "wet cat", "big cow", "shy owl"]
OTHER = ["tax form", "ten lids", "low kiln", "fat pier"]


def sentences(words: list[str], count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["the " + " and the ".join(chance.choices(words, k=6)) + "." for _ in range(count)]


def letters(count: int) -> str:
    """JSONL of letters that each follow the one before them, by Zipf's law."""
    chance = np.random.default_rng(5)
    after = [chance.permutation(26) for _ in range(26)]
    said = []
    for _ in range(count):
        found = [0]
        for jump in chance.zipf(1.5, 60):
            found.append(int(after[found[-1]][min(25, int(jump) - 1)]))
        said.append(json.dumps({"text": "".join(chr(97 + one) for one in found)}) + "\n")
    return "".join(said)


def jsonl(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    torch.set_num_threads(1)
    silence.quiet()
    folder = tmp_path_factory.mktemp("data")
    return Data(
        train=jsonl(folder / "domain.jsonl", sentences(WORDS, 160, 1)),
        corpus=jsonl(folder / "general.jsonl", sentences(OTHER, 160, 2)),
    )


def run(folder: Path, *steps: Step, resume: bool = False) -> RunResult:
    return runner.run(Plan(name="p", steps=steps, seed=1), folder, resume=resume)


def value(found: RunResult, name: str, step: int = -1) -> float:
    return found.steps[step].metrics[name].value


def scratch(data: Data, **settings: Any) -> Step:
    here = Data(train=data.train)
    return Step("pretrain", "scratch", data=here, settings={**SMALL, **settings})


@pytest.fixture(scope="module")
def decoder(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    folder = tmp_path_factory.mktemp("runs") / "decoder"
    return folder, run(folder, scratch(data, z_loss=1e-4, predict=True, max_steps=100))


def test_a_decoder_learns_and_is_loaded_by_transformers(decoder: tuple[Path, RunResult]) -> None:
    folder, found = decoder
    assert value(found, "loss") < 1.6
    assert value(found, "perplexity") == pytest.approx(2.71828 ** value(found, "loss"), rel=1e-3)
    # One character is one byte here, but for the end of each text.
    assert value(found, "bits_per_byte") == pytest.approx(value(found, "loss") / 0.6931, rel=0.05)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    ids = tokenizer("the red fox and the ", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids, labels=ids).loss.item() < 2.5
    assert found.steps[0].counts["parameters"] == sum(p.numel() for p in model.parameters())
    texts = [row["text"] for row in lines(folder / "samples.jsonl")]
    assert len(texts) == 2
    assert "# pretrain" in (folder / "model" / "README.md").read_text()


def test_a_loss_is_foretold_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").write_text(letters(1200))
    settings = {"max_steps": 800, "predict": True, "samples": 0}
    found = run(tmp_path / "run", scratch(Data(train=str(tmp_path / "letters.jsonl")), **settings))
    told = found.steps[0].metrics["predicted_loss"]
    assert told.low is not None
    assert told.high is not None
    assert told.low < told.value < told.high
    assert told.value == pytest.approx(value(found, "loss"), rel=0.15)
    short = sorted(int(path.name) for path in (tmp_path / "run" / "small").iterdir())
    assert short == [40, 80, 160]
    assert any("loss foretold" in note for note in found.steps[0].notes)


def test_where_nothing_can_be_foretold_the_run_says_so(decoder: tuple[Path, RunResult]) -> None:
    found = decoder[1]
    assert "predicted_loss" not in found.steps[0].metrics
    assert any("cannot be foretold" in note for note in found.steps[0].notes)


def test_a_finished_decoder_goes_on_and_is_measured(
    decoder: tuple[Path, RunResult], data: Data
) -> None:
    folder, found = decoder
    backend = base.load("scratch")
    (said,) = backend.predict(folder, ["the red "])
    assert said.answer
    measured = backend.evaluate(folder, Data(test=data.train))
    assert measured["loss"].value == pytest.approx(value(found, "loss"), abs=0.3)


@pytest.mark.parametrize("family", ["bert", "modernbert", "t5"])
def test_other_families_learn(data: Data, tmp_path: Path, family: str) -> None:
    found = run(tmp_path / "run", scratch(data, family=family, max_steps=25))
    first = lines(tmp_path / "run" / "metrics.jsonl")
    begin = next(row["loss"] for row in first if "learning_rate" in row)
    assert value(found, "loss") < begin
    (said,) = base.load("scratch").predict(tmp_path / "run", ["the red fox and the"])
    assert said.answer is not None


def test_a_killed_plan_resumes_to_the_same_model(data: Data, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", scratch(data))

    class Stop(Silence):
        def advance(self, done: int, **figures: float) -> None:
            if done == 20 and figures:
                raise KeyboardInterrupt

    plan = Plan(name="p", steps=(scratch(data),), seed=1)
    with pytest.raises(KeyboardInterrupt):
        runner.run(plan, tmp_path / "cut", progress=Stop())
    shard = tmp_path / "cut" / "tokens" / "train" / "00000.bin"
    shard.write_bytes(shard.read_bytes()[:-100])  # cut short, as by a full disk: made again
    again = run(tmp_path / "cut", scratch(data), resume=True)
    assert value(again, "loss") == value(whole, "loss")
    curves = []
    for name in ("whole", "cut"):
        rows = lines(tmp_path / name / "metrics.jsonl")
        curves.append([row for row in rows if "step" in row])
    assert curves[0] == curves[1]


def test_an_encoder_is_continued_with_replay_and_forgets_less(data: Data, tmp_path: Path) -> None:
    general = Data(train=data.corpus)
    both = Data(train=data.train, corpus=data.corpus)
    made = run(tmp_path / "base", scratch(general, family="bert", max_steps=150, tokenizer=None,
                                          vocabulary="bytes", most_epochs=9))  # fmt: skip
    assert value(made, "loss") < 3.0
    rises, falls = [], []
    for replay in (0.0, 0.5):
        settings = {"max_steps": 40, "replay": replay, "micro_batch": 8, "learning_rate": 5e-3,
                    "precision": "fp32", "compile": False, "most_epochs": 9}  # fmt: skip
        step = Step("go-on", "cpt", str(tmp_path / "base" / "model"), data=both, settings=settings)
        found = run(tmp_path / f"replay-{replay}", step)
        rises.append(value(found, "general_loss_rise"))
        falls.append(value(found, "loss_fall"))
    assert rises[1] < rises[0]
    assert min(falls) > 0.15
    rows = lines(tmp_path / "replay-0.5" / "metrics.jsonl")
    curve = [row for row in rows if "eval_general_loss" in row]
    assert len(curve) >= 2


def test_lora_continues_a_decoder_and_hands_over_to_sft(
    decoder: tuple[Path, RunResult], data: Data, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    rows = [{"prompt": f"the red {n % 3}", "completion": "fox"} for n in range(12)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"adapter": "lora", "rank": 4, "max_steps": 10, "micro_batch": 4, "samples": 0,
                "precision": "fp32", "compile": False, "replay": 0.2}  # fmt: skip
    both = Data(train=data.corpus, corpus=data.train)
    go_on = Step("go-on", "cpt", str(decoder[0] / "model"), data=both, settings=settings)
    tune = Step("tune", "full-ft", "step:go-on", data=Data(train=str(asked), test=str(asked)),
                settings={"max_steps": 2, "micro_batch": 2, "answers_scored": 0,
                          "precision": "fp32", "compare": False})  # fmt: skip
    found = run(tmp_path / "run", go_on, tune)
    assert value(found, "loss_fall", 0) > 0
    assert (tmp_path / "run" / "steps" / "go-on" / "adapter" / "adapter_config.json").is_file()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "steps" / "go-on" / "model")
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert found.steps[1].metrics["loss"].value > 0


def test_a_missing_head_is_fitted_before_anything_is_measured(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.scratch.learning.HEAD_STEPS", 30)
    made = run(tmp_path / "base", scratch(data, family="bert", max_steps=20))
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "base" / "model")
    model.bert.save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(tmp_path / "base" / "model").save_pretrained(tmp_path / "bare")
    step = Step("go-on", "cpt", str(tmp_path / "bare"), data=data,
                settings={"max_steps": 5, "precision": "fp32", "compile": False})  # fmt: skip
    found = run(tmp_path / "run", step)
    assert any("has no cls head" in note for note in found.steps[0].notes)
    assert value(found, "loss_before") < value(made, "loss") + 1.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"parameters": 3_000_000, "layers": None, "width": None, "max_steps": None},
         "the largest sensible model has about"),
        ({"parameters": 3_000_000, "layers": None, "width": None, "max_steps": 2},
         "learn it by heart"),
        ({"max_steps": None, "tokens_per_parameter": 1e6}, "too little for any sensible model"),
        ({"max_steps": 100_000}, "more than 4 times teaches hardly more"),
        ({"vocabulary": "bpe", "vocabulary_size": 9000}, "ask for a vocabulary of"),
        ({"max_length": 100_000}, "less than one context|times through it"),
        ({"preset": "gpu-dya"}, "did you mean 'gpu-day'"),
        ({"replay": 0.5}, "replay is of cpt"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_a_step(
    data: Data, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    plain = {key: value for key, value in {**SMALL, **settings}.items() if value is not None}
    step = Step("pretrain", "scratch", data=Data(train=data.train), settings=plain)
    with pytest.raises(UserError, match=says):
        run(tmp_path / "run", step)
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty|no document"), (b"   \n", "^text.txt: empty; give a file of text|no text"),
     (b"\x00\x01\x02\x00binary" * 50, "^text.txt: line 1: NUL")],
)  # fmt: skip
def test_bad_text_is_refused_before_anything_is_written(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=says):
        run(tmp_path / "run", scratch(Data(train=str(tmp_path / "text.txt"))))
    assert not (tmp_path / "run").exists()


def test_one_gigantic_line_is_learnt_from(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text(" ".join(sentences(WORDS, 200, 3)))
    found = run(tmp_path / "run", scratch(Data(train=str(tmp_path / "line.txt"))))
    assert found.steps[0].counts["held_out_tokens"] > 1000


def test_a_vocabulary_that_nobody_named_is_as_large_as_the_text_supports(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("abab baba\n" * 2000)
    settings = {"vocabulary": "bpe", "vocabulary_size": None, "most_epochs": 100.0, "max_steps": 2}
    found = run(tmp_path / "run", scratch(Data(train=str(tmp_path / "few.txt")), **settings))
    assert 256 < found.steps[0].counts["vocabulary"] < 300


@pytest.mark.parametrize(
    ("whole", "steps", "rises"),
    [(0.05, 100, 50), (0.05, 400, 100), (100.0, 200, 100), (30.0, 100, 30), (0.0, 100, 0)],
)  # fmt: skip
def test_short_runs_are_warmed_up_as_long_as_the_whole_one(
    whole: float, steps: int, rises: int
) -> None:
    assert learning._warmup(whole, steps, of=2000) == rises


def test_presets_are_settings_with_sources() -> None:
    fields = set(Settings.__struct_fields__)
    for preset in pretraining.table().values():
        assert set(preset.settings()) <= fields
        assert all("http" in value.source or "docs/" in value.source
                   for value in preset.values.values())  # fmt: skip
        step = Step("s", "scratch", settings={"preset": preset.id, "max_steps": 7})
        found = preparation.settled(step, base.load("scratch").settled(step), ALIASES)
        assert found.max_steps == 7
        assert found.learning_rate == preset.values["learning_rate"].value
