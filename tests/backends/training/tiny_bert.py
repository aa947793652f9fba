"""A tiny BERT and a toy task that it can learn, made on the spot: no hub, no waiting."""

import csv
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

KINDS = {
    "card": ["card", "pin", "plastic", "chip", "terminal"],
    "loan": ["loan", "rate", "interest", "credit", "mortgage"],
    "trip": ["abroad", "travel", "currency", "exchange", "airport"],
}
FILLING = ["i", "my", "the", "a", "please", "help", "with", "about", "what", "is", "need"]


def words() -> list[str]:
    """Every word of the toy language."""
    return [*FILLING, *(word for kind in KINDS.values() for word in kind)]


def model_folder(folder: Path, layers: int = 2) -> Path:
    """A folder with an untrained encoder and its tokenizer."""
    torch.manual_seed(0)
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {word: number for number, word in enumerate([*marks, *words()])}
    raw = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 3 to 12 words with the label that one or two of their words give away."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        label = list(KINDS)[number % len(KINDS)]
        text = chance.choices(FILLING, k=chance.randint(2, 10))
        for _ in range(chance.randint(1, 2)):
            text.insert(chance.randrange(len(text)), chance.choice(KINDS[label]))
        found.append((" ".join(text), label))
    return found


def csv_file(path: Path, listed: list[tuple[str, str]]) -> str:
    """Write texts and labels as CSV."""
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["text", "label"])
        writer.writerows(listed)
    return str(path)


class Recorder:
    """Progress that remembers, and asks to stop at a certain point of a bar."""

    def __init__(self, stop_at: int | None = None, bar: str = "training") -> None:
        self.stop_at, self.bar = stop_at, bar
        self.bars: list[tuple[str, int, str]] = []
        self.done: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def start(self, label: str, total: int, unit: str) -> None:
        self.bars.append((label, total, unit))
        self.done[label] = []

    def advance(self, done: int, **figures: float) -> None:
        self.done[self.bars[-1][0]].append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def should_stop(self) -> bool:
        seen = self.done.get(self.bar)
        return bool(self.stop_at is not None and seen and seen[-1] >= self.stop_at)


def state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of a model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are equal bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
