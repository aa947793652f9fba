import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny_bert
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from backends.base import Context, Data, Interrupted, Step, StepResult
from backends.finetune import tuned
from backends.peft import BACKEND, Settings, kinds
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(  # plain PEFT 0.21 on transformers 5.23 warns
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)

TEXTS = [text for text, _ in tiny_bert.rows(40, seed=9)]
SETTINGS = {
    "rank": 4,
    "epochs": 10,
    "micro_batch": 16,
    "learning_rate": 1e-2,
    "head_learning_rate": 1e-2,
    "precision": "fp32",
    "compare": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_bert.model_folder(folder / "base")
    tiny_bert.csv_file(folder / "train.csv", tiny_bert.rows(240, seed=1))
    tiny_bert.csv_file(folder / "test.csv", tiny_bert.rows(90, seed=2))
    return folder


def step(place: Path, **settings: Any) -> Step:
    return Step(
        name="intents",
        method="lora",
        model=str(place / "base"),
        data=Data(train=str(place / "train.csv"), test=str(place / "test.csv")),
        settings={**SETTINGS, **settings},
    )


@pytest.fixture(scope="module")
def done(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StepResult]:
    folder = tmp_path_factory.mktemp("done")
    return folder, BACKEND.run(step(place), Context(folder))


def shares(model: Any, tokenizer: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS]
    return torch.cat(logits).softmax(-1)


def test_it_learns_with_few_parameters(done: tuple[Path, StepResult]) -> None:
    _, result = done
    metrics = result.metrics
    assert metrics["accuracy"].value > metrics["baseline_majority_accuracy"].value + 0.4
    matrices = 2 * (4 * (32 + 32) + (32 + 64) + (64 + 32)) + (32 + 32)  # the pooler's is one too
    assert result.counts["trainable_parameters"] == 4 * matrices + 33 * 3
    assert result.artefact == "adapter"


def test_the_adapter_loads_in_peft_and_says_the_same(
    place: Path, done: tuple[Path, StepResult]
) -> None:
    folder = done[0] / "adapter"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    said = list(BACKEND.predict(done[0], TEXTS))
    auto = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    base = AutoModelForSequenceClassification.from_pretrained(place / "base", num_labels=3)
    for model in (auto, PeftModel.from_pretrained(base, folder)):
        plain = shares(model, tokenizer)
        assert [p.label for p in said] == [config.id2label[n] for n in plain.argmax(-1).tolist()]
        sure = torch.tensor([p.confidence for p in said])
        torch.testing.assert_close(sure, plain.max(-1).values, atol=1e-5, rtol=0)
    card = (folder / "README.md").read_text()
    assert "from_pretrained(FOLDER, num_labels=3)" in card
    files = {path.name for path in folder.iterdir()}
    assert "adapter_model.safetensors" in files
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)
    assert (folder / "adapter_model.safetensors").stat().st_size < 60_000
    data = Data(test=str(place / "test.csv"))
    assert BACKEND.evaluate(done[0], data)["accuracy"] == done[1].metrics["accuracy"]


def test_the_base_does_not_move_and_a_new_adapter_changes_nothing(place: Path) -> None:
    torch.manual_seed(0)
    start = tuned.base(str(place / "base"), "base", ["a", "b", "c"], None)
    before = tiny_bert.state(start.model)
    plain = shares(start.model, start.tokenizer)
    model = kinds.prepared("lora", start, Settings(rank=4))
    assert torch.equal(shares(model, start.tokenizer), plain)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()
    inputs = start.tokenizer(TEXTS[0], return_tensors="pt")
    for _ in range(2):  # the first step moves B away from zero, the second A
        optimizer.zero_grad()
        model(**inputs, labels=torch.tensor([1])).loss.backward()
        optimizer.step()
    after = model.get_base_model().state_dict()
    for name, value in before.items():
        if not name.startswith("classifier"):
            kept = after.get(name, after.get(name.replace(".weight", ".base_layer.weight")))
            kept = after[name.replace(".bias", ".base_layer.bias")] if kept is None else kept
            assert torch.equal(kept, value), name
    assert not torch.allclose(shares(model, start.tokenizer), plain)


def test_an_interrupted_step_resumes_to_the_same_adapter(place: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    short = step(place, epochs=2)
    BACKEND.run(short, Context(tmp_path / "whole"))
    seen = tiny_bert.Recorder(stop_at=19)
    with pytest.raises(Interrupted, match="step 19 of 30"):
        BACKEND.run(short, Context(tmp_path / "part", progress=seen, should_stop=seen.should_stop))
    BACKEND.run(short, Context(tmp_path / "part", resume=True))
    both = [
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "part")
    ]
    assert tiny_bert.same(*both)


def test_another_base_is_refused_by_hash(done: tuple[Path, StepResult], tmp_path: Path) -> None:
    other = tiny_bert.model_folder(tmp_path / "other", layers=3)
    shutil.copytree(done[0] / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    config = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**config, "base_model_name_or_path": str(other)}))
    with pytest.raises(UserError, match=r"was trained on .* with weights"):
        list(BACKEND.predict(tmp_path, ["a"]))
    with pytest.raises(UserError, match="holds no adapter"):
        list(BACKEND.predict(tmp_path / "nothing", ["a"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"targets": "query,value"},
        {"target_modules": ["query", "value"], "use_rslora": True, "lora_alpha": 8},
        {"dora": True},
    ],
)
def test_its_variants_train_and_load(place: Path, tmp_path: Path, settings: Any) -> None:
    result = BACKEND.run(step(place, max_steps=3, **settings), Context(tmp_path))
    config = msgspec.json.decode((tmp_path / "adapter" / "adapter_config.json").read_bytes())
    if "dora" in settings:
        assert config["use_dora"]
    else:
        assert sorted(config["target_modules"]) == ["query", "value"]
        assert config["use_rslora"] is ("use_rslora" in settings)
        assert result.counts["trainable_parameters"] == 4 * 2 * 2 * 64 + 33 * 3
    assert len(list(BACKEND.predict(tmp_path, TEXTS))) == 40


def test_a_target_that_is_not_there_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"targets 'q_proj'.*query"):
        BACKEND.run(step(place, targets="q_proj"), Context(tmp_path))


def test_a_sentence_encoders_pooler_is_saved_whole(place: Path, tmp_path: Path) -> None:
    base = tiny_bert.model_folder(tmp_path / "base")
    (base / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    again = msgspec.structs.replace(step(place, max_steps=4), model=str(base))
    (tmp_path / "run").mkdir()
    BACKEND.run(again, Context(tmp_path / "run"))
    config = msgspec.json.decode((tmp_path / "run/adapter/adapter_config.json").read_bytes())
    assert {"classifier", "pooler"} <= set(config["modules_to_save"])
    folder = tmp_path / "run" / "adapter"
    auto = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    plain = shares(auto, AutoTokenizer.from_pretrained(folder)).max(-1).values
    sure = torch.tensor([p.confidence for p in BACKEND.predict(tmp_path / "run", TEXTS)])
    torch.testing.assert_close(sure, plain, atol=1e-5, rtol=0)
