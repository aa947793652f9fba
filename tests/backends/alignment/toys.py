"""A task of one word: every capital is written as often as any other, `rome` is what is liked."""

import json
import random
from pathlib import Path
from typing import Any

import tiny_llama
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from backends.alignment import coding
from backends.base import Data, Plan, Step
from backends.data.rows import Message
from backends.training import silence

LIKED = "rome"
WORDS = list(tiny_llama.CAPITALS.values())


def taught(folder: Path, steps: int = 60) -> Path:
    """A model that answers any question with any capital and ends there."""
    silence.quiet()
    tiny_llama.model_folder(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # Words that are always learnt alike get like vectors, and then no adapter could tell them
    # apart: they begin far from each other.
    torch.nn.init.normal_(model.lm_head.weight, std=0.4)
    rows = [
        coding.coded(tokenizer, (Message("user", asked),), coding.spoken(word), 64)
        for asked in questions() for word in WORDS
    ]  # fmt: skip
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows])
    labels = torch.tensor(
        [[-100] * len(row.prompt) + row.answer + [-100] * (longest - len(row.ids)) for row in rows]
    )
    step = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        step.zero_grad()
        loss.backward()
        step.step()
    model.save_pretrained(folder)
    return folder


def questions() -> list[str]:
    """All questions there are."""
    return [asked.format(land) for asked in tiny_llama.ASKED for land in tiny_llama.CAPITALS]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows; the file's path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def preferences(path: Path, each: int = 3) -> str:
    """Pairs in which the liked word is chosen, each question some times."""
    chance = random.Random(0)
    others = [word for word in WORDS if word != LIKED]
    rows = [
        {"prompt": asked, "chosen": LIKED, "rejected": chance.choice(others)}
        for _ in range(each) for asked in questions()
    ]  # fmt: skip
    return jsonl(path, rows)


def rankings(path: Path) -> str:
    """Each question with all words in some order, the liked one first and the rest tied."""
    chance = random.Random(1)
    rows = []
    for asked in questions():
        words = chance.sample(WORDS, len(WORDS))
        letters = "ABCD"
        best = letters[words.index(LIKED)]
        rest = "=".join(letter for letter in letters if letter != best)
        rows.append({"prompt": asked, "responses": words, "ranking": f"{best}>{rest}"})
    return jsonl(path, rows)


def plan(method: str, model: Path | str, train: str, **settings: Any) -> Plan:
    """A plan of one step; a policy is scored on the questions that it learns on."""
    test = train if method != "reward-model" else None
    step = Step("tune", method, str(model), data=Data(train=train, test=test), settings=settings)
    return Plan("toy", (step,), seed=5)
