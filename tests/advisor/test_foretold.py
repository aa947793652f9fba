"""Estimates beside tuning steps that somebody wrote by hand."""

import csv
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from advisor import doctor
from advisor.steps.foretold import foretold
from backends import plans
from backends.base import Data, Plan, Predicted, Step
from knowledge.quantities import Range

MODEL = "all-minilm-l6-v2"


@pytest.fixture
def train(tmp_path: Path) -> str:
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as lines:
        rows = [(f"where is my parcel number {n}, it is late", str(n % 4)) for n in range(3000)]
        csv.writer(lines).writerows([("text", "label"), *rows])
    return str(path)


def step(data: str, method: str = "lora", **settings: object) -> Step:
    where = Data(train=data, test=data)
    return Step(method, method, MODEL, data=where, settings={"max_length": 32, **settings})


def only(made: Step) -> Predicted:
    (found,) = foretold(Plan("p", (made,))).steps
    assert replace(found, predicted=Predicted()) == replace(made, predicted=Predicted())
    assert found == plans.marked(found)
    return replace(found.predicted, mark=None)


def test_memory_and_time_follow_the_steps_own_settings(train: str) -> None:
    once, twice = only(step(train, epochs=2)), only(step(train, epochs=4))
    assert once.seconds and twice.seconds and once.memory_gib and once.device
    assert twice.seconds.mid == pytest.approx(2 * once.seconds.mid, rel=0.02)
    larger = only(step(train, micro_batch=128)).memory_gib
    assert larger and larger.mid > once.memory_gib.mid
    everything = only(step(train, "head-ft", train="all", epochs=2)).memory_gib
    part = only(step(train, "head-ft", train="last-k", epochs=2)).memory_gib
    assert everything and part and everything.mid > part.mid


def test_few_examples_are_gone_over_more_often_as_the_training_does(train: str) -> None:
    some = Path(train).with_name("some.csv")
    some.write_text("".join(Path(train).read_text().splitlines(keepends=True)[:321]))
    few, many = only(step(str(some))).seconds, only(step(train)).seconds
    assert few and many and few.mid > 0.3 * many.mid


def test_contrast_reads_its_own_batches_its_own_number_of_times(train: str) -> None:
    drawn = only(step(train, "head-ft", train="contrastive"))
    like = {"train": "all", "micro_batch": 64, "epochs": 8}
    assert drawn == only(step(train, "head-ft", **like))
    asked = {"micro_batch": 96, "epochs": 3}
    assert only(step(train, "head-ft", train="contrastive", **asked)) == only(
        step(train, "head-ft", train="all", **asked)
    )


def test_the_head_of_a_tagger_is_trained_where_that_of_a_classifier_is_fitted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tags.jsonl"
    span = {"start": 8, "end": 14, "label": "thing"}
    row = {"text": "where is parcel of mine, it is late", "spans": [span]}
    path.write_text("".join(json.dumps(row) + "\n" for _ in range(3000)))
    twice, thrice = (only(step(str(path), "head-ft", epochs=n)).seconds for n in (4, 6))
    assert twice and thrice and thrice.mid == pytest.approx(1.5 * twice.mid, rel=0.02)


def test_steps_count_where_epochs_do_not(train: str) -> None:
    half = only(step(train, max_steps=150)).seconds
    whole = only(step(train, max_steps=300)).seconds
    assert half and whole and whole.mid == pytest.approx(2 * half.mid, rel=0.02)


def test_a_model_is_found_through_the_step_that_tuned_it(train: str) -> None:
    first = step(train, "head-ft", train="all")
    second = replace(step(train), model="step:head-ft")
    steps = foretold(Plan("p", (first, second))).steps
    assert replace(steps[1].predicted, mark=None) == only(step(train))


def test_what_was_foretold_before_stands(train: str) -> None:
    said = replace(step(train), predicted=Predicted(seconds=Range(1, 2, 3)))
    assert only(said) == said.predicted
    again = foretold(Plan("p", (step(train),)), Plan("p", (said,)))
    assert again.steps[0].predicted.seconds == Range(1, 2, 3)


def test_figures_of_a_step_that_was_edited_are_made_anew(train: str, tmp_path: Path) -> None:
    said = plans.marked(replace(step(train), predicted=Predicted(seconds=Range(1, 2, 3))))
    plans.write(Plan("p", (said,)), tmp_path / "plan.yaml")
    (kept,) = foretold(plans.read(tmp_path / "plan.yaml")).steps
    assert kept.predicted == said.predicted
    edited = replace(said, settings={**said.settings, "epochs": 2})
    assert only(edited) == only(step(train, epochs=2))


@pytest.mark.parametrize(
    "made",
    [
        Step("a", "prompt", "gpt-4o-mini", data=Data(test="t.csv")),
        Step("a", "lora", MODEL, data=Data(train="step:other")),
        Step("a", "lora", "no/such-model", data=Data(train="missing.csv")),
        Step("a", "lora", MODEL, data=Data(train="missing.csv")),
        Step("a", "lora", MODEL, settings={"no_such": 1}),
    ],
)
def test_what_cannot_be_told_stays_unknown(made: Step) -> None:
    assert only(made) == Predicted()


def test_seconds_of_a_toy_are_not_told(train: str) -> None:
    found = only(step(train, max_steps=2))
    assert found.seconds is None and found.memory_gib is not None


def test_the_arithmetic_that_a_step_wishes_for_counts(
    train: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = doctor.machine()
    monkeypatch.setattr(doctor, "machine", lambda: replace(plain, bf16=True, cards=()))
    found = {wish: only(step(train, precision=wish)) for wish in ("auto", "bf16", "fp32")}
    assert found["auto"] == found["bf16"]
    assert found["fp32"].seconds and found["bf16"].seconds
    assert found["fp32"].seconds.mid > 2 * found["bf16"].seconds.mid
    assert found["fp32"].memory_gib and found["bf16"].memory_gib
    assert found["fp32"].memory_gib.mid > found["bf16"].memory_gib.mid
