from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from backends.base import Context, Data, Interrupted, Step, StepResult
from backends.finetune import BACKEND
from knowledge.errors import UserError

TEXTS = [text for text, _ in tiny_bert.rows(40, seed=9)]


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
        method="head-ft",
        model=str(place / "base"),
        data=Data(train=str(place / "train.csv"), test=str(place / "test.csv")),
        settings=settings,
    )


TUNED = {
    "train": "all",
    "epochs": 15,
    "micro_batch": 16,
    "learning_rate": 3e-3,
    "head_learning_rate": 1e-2,
    "precision": "fp32",
}


def run(place: Path, folder: Path, **settings: Any) -> StepResult:
    folder.mkdir(exist_ok=True)
    return BACKEND.run(step(place, **settings), Context(folder, usd_per_hour=3600.0))


def plain_answers(folder: Path) -> tuple[list[str], torch.Tensor]:
    """What transformers alone says, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    return [model.config.id2label[n] for n in logits.argmax(-1).tolist()], logits.softmax(-1)


def test_a_head_is_fitted_and_the_encoder_stays(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path)
    assert result.metrics["accuracy"].value > 0.9
    assert (
        result.metrics["accuracy"].value > result.metrics["baseline_majority_accuracy"].value + 0.4
    )
    assert result.artefact == "model"
    assert result.counts["train"] == 240 and result.counts["classes"] == 3
    assert result.counts["trainable_parameters"] == 33 * 3
    assert result.usd == pytest.approx(result.seconds)
    assert result.peak_memory_bytes is not None and result.memory_metric is not None
    kept = AutoModel.from_pretrained(tmp_path / "model")
    before = AutoModel.from_pretrained(place / "base")
    assert tiny_bert.same(tiny_bert.state(kept), tiny_bert.state(before))
    assert not list(tmp_path.glob(".model*"))


def test_a_head_loads_in_sentence_transformers_and_says_the_same(
    place: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    run(place, tmp_path)
    logits = torch.tensor(SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(TEXTS))
    labels = AutoModel.from_pretrained(tmp_path / "model").config.id2label
    said = list(BACKEND.predict(tmp_path, TEXTS))
    assert [p.text for p in said] == TEXTS
    assert [p.label for p in said] == [labels[n] for n in logits.argmax(-1).tolist()]
    sure = torch.tensor([p.confidence for p in said])
    torch.testing.assert_close(sure, logits.softmax(-1).max(-1).values, atol=1e-5, rtol=0)


def test_a_tuned_model_beats_chance_and_loads_in_transformers(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path, **TUNED)
    metrics = result.metrics
    assert metrics["accuracy"].value > metrics["baseline_majority_accuracy"].value + 0.4
    assert metrics["baseline_linear_head_accuracy"].value > 0.5
    assert metrics["gain_over_linear_head"].value == pytest.approx(
        metrics["accuracy"].value - metrics["baseline_linear_head_accuracy"].value
    )
    said = list(BACKEND.predict(tmp_path, TEXTS))
    labels, shares = plain_answers(tmp_path / "model")
    assert [p.label for p in said] == labels
    sure = torch.tensor([p.confidence for p in said])
    torch.testing.assert_close(sure, shares.max(-1).values, atol=1e-5, rtol=0)
    assert result.counts["trainable_parameters"] == result.counts["parameters"]
    assert result.settings["learning_rate"] == 3e-3
    data = Data(test=str(place / "test.csv"))
    assert BACKEND.evaluate(tmp_path, data)["accuracy"] == metrics["accuracy"]


def test_bf16_learns_too_and_says_so(place: Path, tmp_path: Path) -> None:
    quick = {**TUNED, "compare": False}
    whole = run(place, tmp_path / "a", **quick)
    half = run(place, tmp_path / "b", **{**quick, "precision": "bf16"})
    assert "matrix products in fp32" in whole.notes
    assert "matrix products in bf16" in half.notes
    assert half.metrics["accuracy"].value > half.metrics["baseline_majority_accuracy"].value + 0.4
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in "ab")
    assert one.read_bytes() != other.read_bytes()


def test_last_k_moves_the_last_layers_only(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path, **{**TUNED, "train": "last-k", "last_k": 1, "compare": False})
    assert result.metrics["accuracy"].value > 0.7
    assert "baseline_linear_head_accuracy" not in result.metrics
    before = tiny_bert.state(AutoModel.from_pretrained(place / "base"))
    after = tiny_bert.state(AutoModelForSequenceClassification.from_pretrained(tmp_path / "model"))
    moved = {name for name in before if not torch.equal(before[name], after[f"bert.{name}"])}
    assert moved
    assert all(name.startswith("encoder.layer.1.") for name in moved)
    with pytest.raises(UserError, match="last_k: 2 of a model with 2 layers"):
        run(place, tmp_path / "b", **{**TUNED, "train": "last-k", "last_k": 2})


def test_a_pooler_that_a_sentence_encoder_never_used_starts_as_the_identity(
    place: Path, tmp_path: Path
) -> None:
    from backends.finetune import tuned

    base = tiny_bert.model_folder(tmp_path / "base")
    (base / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    start = tuned.base(str(base), "base", ["a", "b"], None)
    assert torch.equal(start.model.bert.pooler.dense.weight, torch.eye(32))
    assert "bert.pooler.dense.weight" in start.new and "classifier.weight" in start.new
    assert start.max_length == 12
    plain = tuned.base(str(place / "base"), "base", ["a", "b"], None)
    assert plain.new == {"classifier.weight", "classifier.bias"}
    assert plain.max_length == 64


def test_an_interrupted_step_resumes_to_the_same_model(place: Path, tmp_path: Path) -> None:
    short = {**TUNED, "epochs": 2, "compare": False}
    run(place, tmp_path / "whole", **short)
    part = tmp_path / "part"
    part.mkdir()
    seen = tiny_bert.Recorder(stop_at=11)
    with pytest.raises(Interrupted, match="step 11 of 30"):
        BACKEND.run(
            step(place, **short), Context(part, progress=seen, should_stop=seen.should_stop)
        )
    assert not (part / "model").exists()
    result = BACKEND.run(step(place, **short), Context(part, resume=True))
    assert "resumed from step 11" in result.notes
    models = [
        tiny_bert.state(AutoModelForSequenceClassification.from_pretrained(folder / "model"))
        for folder in (part, tmp_path / "whole")
    ]
    assert tiny_bert.same(*models)


def test_encoding_stops_when_asked(place: Path, tmp_path: Path) -> None:
    seen = tiny_bert.Recorder(stop_at=64, bar="encoding")
    with pytest.raises(Interrupted, match="of 240"):
        BACKEND.run(step(place), Context(tmp_path, progress=seen, should_stop=seen.should_stop))
    assert not (tmp_path / "model").exists()


def test_long_texts_are_cut_and_counted(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path, max_length=6)
    assert 0 < result.counts["truncated"] < 240
    assert any("were cut to 6 tokens" in note for note in result.notes)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").model_max_length == 6


def test_without_a_test_file_rows_are_held_out(place: Path, tmp_path: Path) -> None:
    alone = step(place)
    alone = Step(alone.name, alone.method, alone.model, data=Data(train=alone.data.train))
    result = BACKEND.run(alone, Context(tmp_path))
    assert result.metrics["accuracy"].n == result.counts["test"]
    assert result.counts["test"] + result.counts["train"] == 240
    assert 40 <= result.counts["test"] <= 56
    assert any("held out" in note for note in result.notes)


def refused(place: Path, folder: Path, data: Data, match: str, **settings: Any) -> None:
    bad = Step("intents", "head-ft", str(place / "base"), data=data, settings=settings)
    with pytest.raises(UserError, match=match) as caught:
        BACKEND.check(bad, Context(folder / "out"))
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()


def test_bad_input_is_one_line_and_writes_nothing(place: Path, tmp_path: Path) -> None:
    good, train = tiny_bert.rows(30), str(place / "train.csv")
    one = tiny_bert.csv_file(tmp_path / "one.csv", [(text, "card") for text, _ in good])
    gaps = tiny_bert.csv_file(tmp_path / "gaps.csv", [*good[:5], ("a text", ""), *good[5:]])
    new = tiny_bert.csv_file(tmp_path / "new.csv", [*good, ("a text", "lone")])
    (tmp_path / "latin.csv").write_bytes("text,label\nna\xefve,card\n".encode("latin-1"))
    (tmp_path / "empty.csv").write_bytes(b"")
    refused(place, tmp_path, Data(), "names no training file")
    refused(place, tmp_path, Data(train=one), "one class only, 'card'")
    lone = tiny_bert.csv_file(tmp_path / "lone.csv", [("a text", "card")])
    refused(place, tmp_path, Data(train=lone), "'card', in 1 row; a classifier")
    refused(place, tmp_path, Data(train=gaps), "'label'.*row 6")
    refused(place, tmp_path, Data(train=train, test=new), "line 32 of new.csv.*'lone'.*'loan'")
    refused(place, tmp_path, Data(train=str(tmp_path / "latin.csv")), "latin.csv")
    refused(place, tmp_path, Data(train=str(tmp_path / "empty.csv")), "empty")
    refused(place, tmp_path, Data(train=str(tmp_path / "none.csv")), "no file")
    refused(place, tmp_path, Data(train=train), "learning_rat.*learning_rate", learning_rat=1e-3)
    refused(place, tmp_path, Data(train=train), "train", train="everything")


def test_a_model_that_is_not_there_is_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = Data(train=str(place / "train.csv"))
    with pytest.raises(UserError, match="no model folder"):
        BACKEND.check(Step("a", "head-ft", "./nothing", data=data), Context(tmp_path))
    with pytest.raises(UserError, match="cannot load the model 'no-such/model'"):
        BACKEND.check(Step("a", "head-ft", "no-such/model", data=data), Context(tmp_path))
    with pytest.raises(UserError, match="names no model"):
        BACKEND.check(Step("a", "head-ft", data=data), Context(tmp_path))
    with pytest.raises(UserError, match="holds no model"):
        list(BACKEND.predict(tmp_path, ["a"]))


def test_labels_that_the_model_lacks_are_refused_in_evaluation(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path)
    other = tiny_bert.csv_file(tmp_path / "other.csv", [("a card", "card"), ("a pin", "pin")])
    with pytest.raises(UserError, match=r"other\.csv, line 3: the model has no label 'pin'"):
        BACKEND.evaluate(tmp_path, Data(test=other))


def test_an_earlier_step_is_a_base(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path / "first", **{**TUNED, "epochs": 1, "compare": False})
    (tmp_path / "second").mkdir()
    second = Step(
        "again",
        "head-ft",
        "step:first",
        data=Data(train=str(place / "train.csv"), test=str(place / "test.csv")),
        settings={**TUNED, "epochs": 1, "compare": False},
    )
    context = Context(tmp_path / "second", artefacts={"first": tmp_path / "first"})
    BACKEND.check(second, context)
    assert BACKEND.run(second, context).artefact == "model"


def test_settings_know_the_names_of_other_trainers(place: Path) -> None:
    names = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "bf16": False}
    settled = BACKEND.settled(step(place, **names))
    assert (settled.epochs, settled.micro_batch, settled.precision) == (2, 8, False)
    with pytest.raises(UserError, match="repeats"):
        BACKEND.settled(step(place, epochs=1, num_train_epochs=2))
