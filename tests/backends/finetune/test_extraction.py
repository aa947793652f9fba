"""Taggers of every method: spans learnt, saved exactly, found as plain transformers finds them."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from backends import finetune, peft
from backends.base import Context, Data, Step, StepResult
from backends.data import Span
from backends.finetune import taggers
from backends.finetune.taggers import labels_for, pieces, spans_of
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
FAST = {
    "epochs": 12, "micro_batch": 16, "learning_rate": 1e-2, "head_learning_rate": 1e-2,
    "precision": "fp32", "overlong": "split",
}  # fmt: skip
KIND = {word: kind for kind, words in tiny_bert.KINDS.items() for word in words}


def tagged(count: int, seed: int) -> list[dict[str, Any]]:
    """Texts in which the words of a kind that stand together are one span."""
    found = []
    for text, _ in tiny_bert.rows(count, seed):
        words = text.split()
        tags = [KIND.get(word, "O") for word in words]
        found.append({"tokens": words, "tags": tags})
    return found


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_bert.model_folder(folder / "base")
    jsonl(folder / "train.jsonl", tagged(160, 1))
    jsonl(folder / "test.jsonl", tagged(60, 2))
    return folder


def step(place: Path, method: str, **settings: Any) -> Step:
    data = Data(train=str(place / "train.jsonl"), test=str(place / "test.jsonl"))
    return Step("parts", method, str(place / "base"), data=data, settings={**FAST, **settings})


def run(place: Path, folder: Path, method: str, **settings: Any) -> StepResult:
    backend = finetune.BACKEND if method in ("head-ft", "full-ft") else peft.BACKEND
    one = step(place, method, **settings)
    backend.check(one, Context(folder))
    return backend.run(one, Context(folder))


@pytest.mark.parametrize(
    ("method", "own", "least"),
    [
        ("head-ft", {"train": "head", "epochs": 20, "head_learning_rate": 0.1}, 0.5),
        ("full-ft", {"learning_rate": 3e-3}, 0.7),
        ("lora", {"rank": 8, "learning_rate": 3e-3, "epochs": 20}, 0.5),
        ("adapter-parallel", {"width": 16}, 0.7),
        ("soft-prompt", {"tokens": 4, "epochs": 20, "head_learning_rate": 0.1}, 0.4),
    ],
)
def test_it_learns_to_find_and_is_saved_exactly(
    place: Path, tmp_path: Path, method: str, own: dict[str, Any], least: float
) -> None:
    result = run(place, tmp_path, method, **own)
    metrics = result.metrics
    assert metrics["span_f1"].value > least  # the untrained head finds nothing: below 0.2
    assert metrics["gain_over_linear_head"].value == pytest.approx(
        metrics["span_f1"].value - metrics["baseline_linear_head_span_f1"].value
    )
    if own.get("train") == "head":
        assert result.counts["trainable_parameters"] == 33 * 7
    backend = finetune.BACKEND if result.artefact == "model" else peft.BACKEND
    again = backend.evaluate(tmp_path, Data(test=str(place / "test.jsonl")))
    assert again["span_f1"] == metrics["span_f1"]
    (said,) = backend.predict(tmp_path, ["help with my mortgage please"])
    if least > 0.5:
        assert json.loads(str(said.answer)) == [
            {"label": "loan", "text": "mortgage", "start": 13, "end": 21}
        ]
    assert (tmp_path / "classes.json").is_file() and (tmp_path / "errors.jsonl").is_file()


def test_an_untrained_tagger_finds_little(place: Path, tmp_path: Path) -> None:
    result = run(place, tmp_path, "full-ft", learning_rate=1e-9, head_learning_rate=1e-9, epochs=1)
    assert result.metrics["span_f1"].value < 0.2
    assert result.metrics["gain_over_linear_head"].high < 0


def test_it_tags_as_plain_transformers_does(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path, "full-ft", learning_rate=3e-3)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "model").eval()
    tagger = taggers.load(tmp_path / "model")
    texts = [" ".join(row["tokens"]) for row in tagged(20, 9)]
    for text, spans in zip(texts, tagger.spans(texts), strict=True):
        coded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        places = coded.pop("offset_mapping")[0].tolist()
        with torch.no_grad():
            best = model(**coded).logits[0].argmax(-1).tolist()
        inside = [
            (start, model.config.id2label[n][2:])
            for (start, end), n in zip(places, best, strict=True)
            if end > start and n
        ]
        wanted = [
            (start, one.label)
            for one in spans
            for start, end in places
            if end > start and one.start <= start < one.end
        ]
        assert wanted == inside


@pytest.mark.parametrize("length", [4, 6, 64])
def test_tags_of_pieces_mark_the_spans_again(place: Path, length: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    text = "card pin about loan rate interest what airport"
    spans = [Span(0, 8, "card"), Span(15, 33, "loan"), Span(39, 46, "trip")]
    tags = ("O", "B-card", "I-card", "B-loan", "I-loan", "B-trip", "I-trip")
    cut = pieces(tokenizer, text, length)
    assert len(cut) == -(-8 // (length - 2))
    found = [
        one
        for piece in cut
        for one in spans_of(text, piece, [max(n, 0) for n in labels_for(piece, spans, tags)], tags)
    ]
    assert {(a, b) for one in found for a, b in [(one.start, one.end)]} >= {(39, 46)}
    assert found == spans if length == 64 else len(found) >= len(spans)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": "contrastive"}, "use train: head, last-k or all"),
        ({"abstain_below": 0.5}, "abstain_below is for classifiers"),
    ],
)
def test_settings_of_classifiers_are_refused(
    place: Path, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        finetune.BACKEND.check(step(place, "head-ft", **settings), Context(tmp_path))


def test_texts_without_spans_and_strange_labels_are_refused(place: Path, tmp_path: Path) -> None:
    empty = jsonl(tmp_path / "e.jsonl", [{"tokens": ["a"], "tags": ["O"]}] * 3)
    strange = jsonl(tmp_path / "s.jsonl", [{"tokens": ["a"], "tags": ["B-moon"]}])
    one = step(place, "full-ft")
    for data, says in (
        (Data(train=empty), "has no span in 3 texts"),
        (Data(train=one.data.train, test=strange), "no training text has the label 'moon'"),
    ):
        whole = Step("parts", "full-ft", one.model, data=data)
        with pytest.raises(UserError, match=says):
            finetune.BACKEND.check(whole, Context(tmp_path))
