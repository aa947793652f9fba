"""Several tasks on one frozen base: one copy of its weights in memory, an adapter for each task.

Soft prompts are the case it is made for (https://arxiv.org/abs/2104.08691, section 5): each is a
few vectors, so a hundred tasks cost hardly more memory than one. Any adapter that PEFT knows will
do. `switched` serves one task after another; `stacked` adds the updates of several.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer

from backends.base import Prediction
from backends.finetune import tasks as kinds_of_task
from backends.finetune.classifiers import Classifier, Logits, labels_of
from backends.finetune.generators import Generator
from backends.peft import adapters, kinds
from backends.training import precision
from knowledge.errors import UserError, unknown


class Tasks:
    """Adapters by name on one base.

    Args:
        folders: `adapter/` folders by the name of their task, all of one base and of one kind
            of task.
    Raises:
        UserError: there are none, or they belong on different bases, or are no PEFT adapters.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        if not folders:
            raise UserError("no adapters to serve; give a folder for each task")
        self.folders = dict(folders)
        first = next(iter(folders))
        base, card = adapters.base_model(folders[first])
        self.task = card.task
        for name, folder in folders.items():
            other = adapters.card(folder)
            if (other.sha256, other.task) != (card.sha256, card.task):
                raise UserError(
                    f"the adapter of {name!r} belongs on {other.model!r} and that of {first!r} on "
                    f"{card.model!r}; tasks share one base"
                )
            if not (folder / "adapter_config.json").is_file():
                raise UserError(
                    f"the adapter of {name!r} is a bottleneck, which cannot be switched; "
                    "serve it alone, or use lora, ia3, soft-prompt or prefix"
                )
        with kinds.without_deprecations():
            self.model = PeftModel.from_pretrained(base, folders[first], adapter_name=first)
            for name, folder in folders.items():
                if name != first:
                    self.model.load_adapter(folder, adapter_name=name)
        self.model.requires_grad_(False).eval().to(precision.device())
        self.tokenizers = {
            name: AutoTokenizer.from_pretrained(folder) for name, folder in folders.items()
        }

    def predictions(self, name: str, texts: Sequence[str]) -> Iterator[Prediction]:
        """What the adapter of a task says to each text, in order.

        Raises:
            UserError: no task has that name.
        """
        if name not in self.folders:
            raise unknown("task", name, self.folders)
        self.model.set_adapter(name)
        tokenizer = self.tokenizers[name]
        length = int(tokenizer.model_max_length)
        if self.task == kinds_of_task.CLASSIFY:
            labels = labels_of(AutoConfig.from_pretrained(self.folders[name]))
            model: Any = Logits(self.model)
            yield from Classifier(model, tokenizer, labels, length).predictions(texts)
        else:
            yield from Generator(self.model, tokenizer, length).predictions(texts)

    @contextmanager
    def stacked(self, weights: Mapping[str, float]) -> Iterator[Any]:
        """The base with the updates of several LoRA adapters added, each times its weight.

        Raises:
            UserError: no task has such a name, or adapters cannot be added.
        """
        for name in weights:
            if name not in self.folders:
                raise unknown("task", name, self.folders)
        try:
            with torch.no_grad():
                self.model.add_weighted_adapter(
                    list(weights), list(weights.values()), "stacked", combination_type="cat"
                )
        except (ValueError, AttributeError) as error:
            raise UserError(
                f"the adapters of {', '.join(weights)} cannot be added: "
                f"{' '.join(str(error).split())[:120]}; only LoRA adapters can"
            ) from None
        self.model.set_adapter("stacked")
        self.model.requires_grad_(False).eval()  # a new adapter begins ready to learn
        try:
            yield self.model
        finally:
            self.model.set_adapter(next(iter(self.folders)))
            self.model.delete_adapter("stacked")
