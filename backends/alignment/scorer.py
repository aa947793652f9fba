"""A finished reward model: how good it holds an answer to a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from backends import weights
from backends.alignment import coding, heads
from backends.base import Context
from backends.data.rows import Turns
from backends.training import batches, precision, silence
from knowledge.errors import UserError

AT_ONCE = 32


class Rewarding(Protocol):
    """A reward model of any make: whole, a head on a frozen model, an adapter on another's base."""

    def ids(self, prompt: Turns, answer: Turns, ended: bool = True) -> Any:
        """An answer to a prompt as the model reads it; one that was cut off has no end."""

    def scores(self, rows: Sequence[Any], context: Context | None = None) -> list[float]:
        """The reward of each of what `ids` gave, in order."""


class Scorer(NamedTuple):
    """A model with one output, its tokenizer, and the tokens it reads."""

    model: Any
    tokenizer: Any
    max_length: int

    def ids(self, prompt: Turns, answer: Turns, ended: bool = True) -> list[int]:
        """The tokens of an answer to a prompt; one that was cut off has no end."""
        if coding.reads_both_ways(self.model.config):
            return coding.sides(self.tokenizer, prompt, answer, self.max_length)
        found = coding.coded(self.tokenizer, prompt, answer, self.max_length)
        return found.ids if ended or len(found.answer) < 2 else found.ids[:-1]

    def scores(self, rows: Sequence[list[int]], context: Context | None = None) -> list[float]:
        """The reward of each row of tokens, in order."""
        found = [0.0] * len(rows)
        place = next(self.model.parameters()).device
        done = 0
        if context is not None:
            context.progress.start("rewarding", len(rows), "answers")
        with torch.inference_mode():
            for numbers in batches.sorted_batches([len(row) for row in rows], AT_ONCE):
                inputs = batches.padded(
                    [{"input_ids": rows[n]} for n in numbers], int(self.tokenizer.pad_token_id)
                )
                said = self.model(**{key: value.to(place) for key, value in inputs.items()})
                for number, value in zip(numbers, said.logits[:, 0].float().tolist(), strict=True):
                    found[number] = value
                done += len(numbers)
                if context is not None:
                    context.progress.advance(done)
                    context.check_stop(f"stopped at answer {done} of {len(rows)} (rewarding)")
        return found


def load(folder: Path) -> Rewarding:
    """The reward model in a `model/` folder.

    Raises:
        UserError: there is none, it cannot be loaded, or it says more than one number.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{str(folder)!r} holds no reward model; has the step finished?")
    if heads.is_one(folder):
        return heads.load(folder)
    silence.quiet()
    with weights.loading(str(folder)):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
    if report["missing_keys"] or model.config.num_labels != 1:
        raise UserError(
            f"{str(folder)!r} is no reward model: it says {model.config.num_labels} numbers"
            + (", its head is not in its files" if report["missing_keys"] else "")
            + "; name a step or folder of the method reward-model"
        )
    model.requires_grad_(False).eval().to(precision.device())
    return Scorer(model, tokenizer, int(tokenizer.model_max_length))


def folder_of(name: str, artefacts: Any) -> Path | None:
    """The folder of the reward model that a setting names, or None where it names a rule.

    Raises:
        UserError: no earlier step has that name.
    """
    if name.startswith("step:"):
        step = name.removeprefix("step:")
        if step not in artefacts:
            raise UserError(f"reward: {name!r}: no earlier step {step!r} makes a reward model")
        return Path(artefacts[step]) / "model"
    path = Path(name).expanduser()
    if not path.is_dir():
        return None
    return path / "model" if (path / "model").is_dir() else path
