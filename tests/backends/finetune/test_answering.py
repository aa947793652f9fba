from pathlib import Path
from typing import Any

import pytest
import tiny_bert
import tiny_llama
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backends import finetune, peft
from backends.base import Context, Data, Step, StepResult
from backends.data import Completion, Messages
from backends.data.rows import Message
from backends.finetune import dialogues, generation, generators
from backends.training import batches
from backends.training.batches import IGNORED
from knowledge.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
FAST = {"epochs": 12, "micro_batch": 4, "learning_rate": 1e-2, "precision": "fp32"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_llama.model_folder(folder / "base")
    # A model that speaks the language and has the facts wrong: what an adapter can mend.
    lands = list(tiny_llama.CAPITALS)
    wrong = dict(zip(lands, [*list(tiny_llama.CAPITALS.values())[1:], "paris"], strict=True))
    listed = [(asked, wrong[asked.split()[-1]]) for asked, _ in tiny_llama.pairs(160, 4)]
    data = Data(train=tiny_llama.jsonl_file(folder / "wrong.jsonl", listed))
    (folder / "first").mkdir()
    settings = {**FAST, "epochs": 8, "compare": False}
    first = Step("first", "full-ft", str(folder / "base"), data=data, settings=settings)
    finetune.BACKEND.run(first, Context(folder / "first"))
    tiny_llama.jsonl_file(folder / "train.jsonl", tiny_llama.pairs(160, 1))
    tiny_llama.jsonl_file(folder / "test.jsonl", tiny_llama.pairs(30, 2), messages=True)
    return folder


def step(place: Path, method: str = "full-ft", **settings: Any) -> Step:
    return Step(
        name="capitals",
        method=method,
        model=str(place / "base"),
        data=Data(train=str(place / "train.jsonl"), test=str(place / "test.jsonl")),
        settings={**FAST, **settings},
    )


@pytest.fixture(scope="module")
def done(place: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StepResult]:
    folder = tmp_path_factory.mktemp("done")
    return folder, finetune.BACKEND.run(step(place, answer_tokens=4), Context(folder))


def test_it_learns_to_answer_beyond_the_model_as_it_was(done: tuple[Path, StepResult]) -> None:
    metrics = done[1].metrics
    assert metrics["exact_match"].value > metrics["baseline_untuned_exact_match"].value + 0.6
    assert metrics["loss"].value < 0.3 * metrics["baseline_untuned_loss"].value
    assert metrics["gain_over_untuned"].low > 0
    assert metrics["gain_over_prompting"].value == pytest.approx(
        metrics["exact_match"].value - metrics["baseline_prompted_exact_match"].value
    )
    assert {"general_loss_before", "general_loss_after"} <= metrics.keys()
    assert done[1].counts["packed_rows"] < 80
    assert (done[0] / "errors.jsonl").is_file()


def test_it_answers_as_plain_transformers_does_and_stops(done: tuple[Path, StepResult]) -> None:
    texts = ["capital of peru", "what is the capital of italy", "tell me the capital of spain"]
    said = [p.answer for p in finetune.BACKEND.predict(done[0], texts)]
    assert said == ["lima", "rome", "madrid"]
    tokenizer = AutoTokenizer.from_pretrained(done[0] / "model")
    model = AutoModelForCausalLM.from_pretrained(done[0] / "model").eval()
    for text, answer in zip(texts, said, strict=True):
        talk = [{"role": "user", "content": text}]
        inputs = tokenizer.apply_chat_template(
            talk, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        written = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False
        )[0, inputs["input_ids"].shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == answer
        assert len(written) <= 3  # the answer, and its end
    data = Data(test=str(done[0] / "nothing"))
    with pytest.raises(UserError):
        finetune.BACKEND.evaluate(done[0], data)


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("lora", {"rank": 8, "merge": True}),
        ("qlora", {"rank": 8, "merge": True}),
        ("lora", {"rank": 8, "precision": "bf16"}),
        ("adapter-sequential", {"width": 16}),
        ("adapter-parallel", {"width": 16}),
        ("soft-prompt", {"tokens": 4}),
        ("prefix", {"tokens": 4, "learning_rate": 0.1}),
        ("ia3", {}),
    ],
)
def test_every_peft_method_lowers_the_loss_of_answers(
    place: Path, tmp_path: Path, method: str, own: dict[str, Any]
) -> None:
    one = step(place, method, **own, epochs=8)
    model = str(place / "first" / "model")
    whole = Step("capitals", method, model, data=one.data, settings=one.settings)
    peft.BACKEND.check(whole, Context(tmp_path))
    result = peft.BACKEND.run(whole, Context(tmp_path))
    assert result.metrics["loss"].value < 0.97 * result.metrics["baseline_untuned_loss"].value
    again = peft.BACKEND.evaluate(tmp_path, Data(test=str(place / "test.jsonl")))
    assert again["loss"].value == pytest.approx(result.metrics["loss"].value, rel=1e-6)
    assert ("packed_rows" in result.counts) == (method not in ("soft-prompt", "prefix"))
    if "merge" in own:
        merged = generators.load(tmp_path / "model")
        loss = generation.score(merged, Data(test=str(place / "test.jsonl")))["loss"].value
        near = 1e-4 if method == "lora" else 0.5  # the base in full is not the one in four bits
        assert loss == pytest.approx(result.metrics["loss"].value, rel=near)


def rows(tokenizer: Any, *talks: list[tuple[str, str]], length: int = 64, **how: Any) -> Any:
    listed = [
        Messages(tuple(Message(role, said) for role, said in talk), line)
        for line, talk in enumerate(talks, 1)
    ]
    return dialogues.dialogues(tokenizer, listed, length, **how)


def learnt(tokenizer: Any, row: dict[str, Any]) -> str:
    return tokenizer.decode([label for label in row["labels"] if label != IGNORED])


def test_only_answers_and_their_ends_are_learnt() -> None:
    tokenizer = tiny_llama.tokenizer()
    talk = [
        ("system", "be kind"),
        ("user", "capital of peru"),
        ("assistant", "lima"),
        ("user", "capital of italy"),
        ("assistant", "rome"),
    ]
    found = rows(tokenizer, talk)
    assert learnt(tokenizer, found.rows[0]) == "lima<|end|>\nrome<|end|>\n"
    assert found.ends_added == 0
    assert learnt(tokenizer, rows(tokenizer, talk, everything=True).rows[0]).count("<|end|>") == 5


def test_an_end_that_the_template_lacks_is_added_and_ends_are_known() -> None:
    bare = tiny_llama.tokenizer("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    found = rows(bare, [("user", "capital of peru"), ("assistant", "lima")])
    assert found.ends_added == 1
    assert found.rows[0]["labels"][-1] == bare.eos_token_id
    assert dialogues.ends_of(bare) == [2]
    marked = tiny_llama.tokenizer()
    assert dialogues.ends_of(marked) == [2, marked.convert_tokens_to_ids("<|end|>")]
    plain = tiny_llama.tokenizer(None)
    assert dialogues.templated(plain) and plain.chat_template == dialogues.PLAIN
    found = rows(plain, [("user", "capital of peru"), ("assistant", "lima")])
    assert learnt(plain, found.rows[0]).strip() == "lima</s>"


def test_a_template_that_rewrites_earlier_turns_teaches_the_last_answer_alone() -> None:
    rewriting = tiny_llama.tokenizer(
        "{% for m in messages %}<|{{ m['role'] }}|> "
        "{% if m['role'] == 'assistant' and not loop.last %}.{% else %}{{ m['content'] }}"
        "{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}"
    )
    talk = [("user", "a"), ("assistant", "paris"), ("user", "b"), ("assistant", "rome")]
    assert learnt(rewriting, rows(rewriting, talk).rows[0]) == "rome<|end|>"


def test_what_is_too_long_is_cut_split_or_dropped_and_counted() -> None:
    tokenizer = tiny_llama.tokenizer()
    long = [("user", "capital of peru"), ("assistant", " ".join(["lima"] * 20))]
    short = [("user", "capital of peru"), ("assistant", "lima")]
    cut = rows(tokenizer, long, short, length=24)
    assert (cut.truncated, len(cut.rows), len(cut.rows[0]["input_ids"])) == (1, 2, 24)
    split = rows(tokenizer, long, short, length=24, overlong="split")
    assert (split.split, len(split.rows)) == (1, 4)
    dropped = rows(tokenizer, long, short, length=24, overlong="drop")
    assert (dropped.dropped, [row["line"] for row in dropped.rows]) == (1, [2])
    masked = rows(tokenizer, [("user", "capital " * 12), ("assistant", "lima")], short, length=16)
    assert (masked.masked, [row["line"] for row in masked.rows]) == (1, [2])
    assert masked.counts()["dropped_without_answer_tokens"] == 1


def test_packed_rows_have_the_losses_of_unpacked_ones(done: tuple[Path, StepResult]) -> None:
    model = AutoModelForCausalLM.from_pretrained(done[0] / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(done[0] / "model")
    found = dialogues.dialogues(
        tokenizer,
        [Completion(asked, said, n) for n, (asked, said) in enumerate(tiny_llama.pairs(20, 3))],
        64,
    ).rows
    packed = dialogues.packed(found, 64)
    assert sum(len(row["input_ids"]) for row in packed) == sum(len(r["input_ids"]) for r in found)
    assert max(len(row["input_ids"]) for row in packed) <= 64 and len(packed) <= 8
    assert sorted(line for row in packed for line in row["lines"]) == list(range(20))

    def summed(listed: list[dict[str, Any]]) -> float:
        batch = batches.padded(listed, 0)
        labels = batch.pop("labels")
        count = int((labels[:, 1:] != IGNORED).sum())
        with torch.no_grad():
            return float(generators.token_loss(model(**batch, use_cache=False), labels)) * count

    apart = sum(summed([row]) for row in found)
    assert summed(packed) == pytest.approx(apart, rel=1e-4)
    blind = [{k: v for k, v in row.items() if k != "position_ids"} for row in packed]
    assert summed(blind) != pytest.approx(apart, rel=1e-2)  # the test would see contamination


def test_data_that_teach_nothing_are_refused_in_one_line(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of 160 conversations has an answer within 6 tokens"):
        finetune.BACKEND.run(step(place, max_length=6), Context(tmp_path))
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "a"}\n{"text": "b"}\n')
    plain = Step("a", "full-ft", str(place / "base"), data=Data(train=str(texts)))
    with pytest.raises(UserError, match="holds plain texts; answering is learnt from"):
        finetune.BACKEND.check(plain, Context(tmp_path))
    with pytest.raises(UserError, match="head-ft needs texts with labels"):
        finetune.BACKEND.check(step(place, "head-ft"), Context(tmp_path))
    encoder = tiny_bert.model_folder(tmp_path / "bert")
    (tmp_path / "run").mkdir()
    other = Step("a", "full-ft", str(encoder), data=Data(train=str(place / "train.jsonl")))
    with pytest.raises(UserError):
        finetune.BACKEND.check(other, Context(tmp_path / "run"))
        finetune.BACKEND.run(other, Context(tmp_path / "run"))


def test_one_conversation_is_enough_with_a_test_file(place: Path, tmp_path: Path) -> None:
    tiny_llama.jsonl_file(tmp_path / "one.jsonl", tiny_llama.pairs(1))
    data = Data(train=str(tmp_path / "one.jsonl"), test=str(place / "test.jsonl"))
    one = Step("a", "full-ft", str(place / "base"), data=data, settings={**FAST, "epochs": 2})
    assert finetune.BACKEND.run(one, Context(tmp_path)).counts["train"] == 1
