"""A plan of two steps: a generator is tuned, and answers over an index; it resumes as one."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from backends import runner
from backends.base import Context, Data, Interrupted, Plan, Step
from backends.progress import Silence
from backends.rag import BACKEND
from knowledge.errors import UserError

SAID = "Every room has one key [1]."
UNSAID = "Every room has 48 keys [1]."
QUESTION = "How many keys has a room?"


def decoder(folder: Path) -> str:
    """A small untrained decoder whose words are those of the answers; all others are unknown."""
    torch.manual_seed(0)
    marks = ["<pad>", "<unk>", "</s>", " ", "\n"]
    words = dict.fromkeys([*marks, "User:", "Assistant:", *SAID.split(), *UNSAID.split()])
    raw = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = Split(Regex(r"\s"), "isolated")
    raw.decoder = Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", eos_token="</s>",
        model_max_length=512,
    ).save_pretrained(folder)  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
        bos_token_id=None, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def plan(
    tmp_path: Path, handbook: Path, tiny: str, says: str = SAID, method: str = "full-ft"
) -> Plan:
    train = tmp_path / "train.jsonl"
    asked = ["key", "the key of a room", "keys ?", "who has a key", "rooms and keys", "a room"]
    rows = [
        {"prompt": f"{text} {'x ' * n}", "completion": says}
        for text in asked
        for n in (1, 40, 120, 220)
    ]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {
        "epochs": 20, "micro_batch": 4, "learning_rate": 1e-2, "precision": "fp32",
        "compare": False, "save_steps": 10, "packing": False,
    }  # fmt: skip
    tune = Step(
        "tune", method, decoder(tmp_path / "decoder"),
        data=Data(train=str(train), test=str(train)), settings=settings,
    )  # fmt: skip
    answer = Step(
        "answer", "rag", tiny, data=Data(corpus=str(handbook)),
        settings={
            "chunk_tokens": 40, "overlap_tokens": 5, "retriever": "bm25", "abstain_below": 0.0,
            "generator": "step:tune", "made_questions": 4,
        },
    )  # fmt: skip
    return Plan("support", (tune, answer))


class Stopping(Silence):
    """Progress that presses Ctrl-C where a bar has come to a point."""

    def __init__(self, label: str, at: int) -> None:
        self.label, self.at, self.now, self.seen = label, at, "", list[str]()

    def start(self, label: str, total: int, unit: str) -> None:
        self.now = label
        self.seen.append(label)

    def advance(self, done: int, **figures: float) -> None:
        if self.now == self.label and done >= self.at:
            self.label = ""
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler) and handler is not signal.default_int_handler
            handler(signal.SIGINT, None)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning")
def test_a_tuned_generator_answers_over_an_index_and_the_plan_resumes(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    torch.set_num_threads(1)
    out = tmp_path / "run"
    whole = plan(tmp_path, handbook, tiny)
    with pytest.raises(Interrupted, match="stopped at step"):
        runner.run(whole, out, progress=Stopping("training", 12))
    second = Stopping("indexing", 1)
    with pytest.raises(Interrupted):
        runner.run(whole, out, resume=True, progress=second)
    assert (out / "steps" / "tune" / "step.json").is_file()
    tuned = (out / "steps" / "tune" / "model" / "model.safetensors").read_bytes()
    third = Stopping("", 0)
    result = runner.run(whole, out, resume=True, progress=third)
    assert [step.name for step in result.steps] == ["tune", "answer"]
    assert "training" in second.seen and "training" not in third.seen
    assert (out / "steps" / "tune" / "model" / "model.safetensors").read_bytes() == tuned
    moved = tmp_path / "elsewhere"
    shutil.move(out, moved)  # its parts find each other by relative paths
    (said,) = BACKEND.predict(moved, [QUESTION])
    assert said.answer is not None and said.answer.endswith("[1]")
    spoken = set(said.answer.replace(".", "").split())
    assert len(spoken) > 1 and spoken <= set(SAID.replace(".", "").split())
    assert "one key" in said.citations[0]["passage"]


def test_a_tuned_generator_is_held_to_its_passages(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    torch.set_num_threads(1)
    runner.run(plan(tmp_path, handbook, tiny, UNSAID), tmp_path / "run")
    (said,) = BACKEND.predict(tmp_path / "run", [QUESTION])
    assert said.answer is None and said.abstained


def test_a_generator_that_no_step_makes_is_refused(
    tmp_path: Path, handbook: Path, tiny: str
) -> None:
    step = plan(tmp_path, handbook, tiny).steps[1]
    with pytest.raises(UserError, match="no earlier step 'tune' makes one"):
        BACKEND.check(step, Context(tmp_path))
