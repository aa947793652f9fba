"""A finished model: written, loaded, asked, and measured on other text."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

from backends import weights
from backends.base import Context, Metric
from backends.scratch import Family, Settings, corpora, drawing, preparation, vocabulary
from backends.scratch.measures import figures
from backends.training import precision, silence

FILLED = 20  # tokens that an encoder-decoder writes for each span


class Finished(NamedTuple):
    """A model, its tokenizer, and what it learns like."""

    model: Any
    tokenizer: Any
    family: Family

    def continued(self, text: str) -> str:
        """What a decoder writes after a text, or a text with its hidden tokens filled in."""
        settings = Settings(family=self.family, prompt=text, temperature=0.8, top_k=50)
        if self.family == "llama":
            begin = drawing.beginning(self.tokenizer, 2)
            return drawing.drawn(self.model, self.tokenizer, settings, begin, 1)[0][len(text) :]
        if self.family == "t5":
            return self._spans(text)
        ids = self.tokenizer(text, return_tensors="pt", truncation=True)["input_ids"]
        ids = ids.to(self.model.device)
        with torch.inference_mode():
            best = self.model(input_ids=ids).logits.argmax(-1)
        filled = torch.where(ids == self.tokenizer.mask_token_id, best, ids)
        return str(self.tokenizer.decode(filled[0], skip_special_tokens=True))

    def measured(self, path: str) -> dict[str, Metric]:
        """The figures on the text of a path."""
        length = int(self.tokenizer.model_max_length)
        settings = Settings(family=self.family, max_length=length)
        reader = preparation.reader(settings, self.tokenizer, length, seed=0)
        found = corpora.Texts(lambda: corpora.texts(path), lambda: corpora.texts(path))
        with tempfile.TemporaryDirectory() as folder:
            here = Context(Path(folder))
            whole = corpora.corpus(found, self.tokenizer, here.folder, ("a", "b"), True, here)
            return figures(reader, self.model, whole, self.family == "llama")

    def _spans(self, text: str) -> str:
        ids = self.tokenizer(text, return_tensors="pt", truncation=True)["input_ids"]
        with torch.inference_mode():
            said = self.model.generate(
                input_ids=ids.to(self.model.device), max_new_tokens=FILLED,
                eos_token_id=self.tokenizer.eos_token_id, pad_token_id=self.tokenizer.pad_token_id,
            )  # fmt: skip
        return str(self.tokenizer.decode(said[0][1:], skip_special_tokens=False))


def write(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write model and tokenizer as transformers reads them."""
    if model.can_generate():
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> Finished:
    """The model of a `model/` folder.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    weights.refuse_unfinished(folder)
    silence.quiet()
    family = preparation.family_of(str(folder), str(folder))
    with weights.loading(str(folder)):
        model = preparation.KINDS[family].from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        )
    model.requires_grad_(False).eval().to(precision.device())
    return Finished(model, vocabulary.kept(folder), family)
