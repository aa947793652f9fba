"""A model that answers: loaded, asked, and measured.

Shapes: B prompts of a batch, T tokens, V vocabulary.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoTokenizer

from backends import evaluate, weights
from backends.base import Context, Metric, Prediction
from backends.data import Row, target_text
from backends.finetune import dialogues
from backends.finetune.dialogues import Talk
from backends.finetune.examples import context_length
from backends.finetune.tasks import ANSWER, MODELS, REWRITE, answering
from backends.finetune.tuned import Base
from backends.training import batches, fourbit, precision, silence
from backends.training.batches import IGNORED
from knowledge.errors import UserError

AT_ONCE = 8  # answers written side by side
SCORED_AT_ONCE = 16
ROOM = 4  # at least a quarter of the context is left to the answer


class Generator(NamedTuple):
    """A model that writes, its tokenizer with a chat template, and the tokens it reads."""

    model: Any
    tokenizer: Any
    max_length: int

    def answers(self, talks: Iterable[Talk], context: Context | None = None) -> Iterator[str]:
        """The answer to each conversation, in order, always the likeliest token next."""
        stream = iter(talks)
        done = 0
        while some := list(islice(stream, AT_ONCE)):
            yield from self._written(some)
            done += len(some)
            if context is not None:
                context.progress.advance(done)
                context.check_stop(f"stopped at answer {done}")

    def predictions(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """The answer to each text, in order, while texts still come."""
        stream = iter(texts)
        while some := list(islice(stream, AT_ONCE)):
            talks = [[{"role": "user", "content": text}] for text in some]
            for text, answer in zip(some, self.answers(talks), strict=True):
                yield Prediction(text=text, answer=answer)

    def losses(
        self, rows: Sequence[Mapping[str, Any]], context: Context | None = None
    ) -> list[tuple[float, int, int]]:
        """For each row the summed loss of its learnt tokens, how many, and how many were right."""
        found: list[tuple[float, int, int]] = [(0.0, 0, 0)] * len(rows)
        place = next(self.model.parameters()).device
        done = 0
        if context is not None:
            context.progress.start("scoring", len(rows), "texts")
        lengths = [len(row["input_ids"]) for row in rows]
        with torch.inference_mode():
            for numbers in batches.sorted_batches(lengths, SCORED_AT_ONCE):
                batch = batches.padded([rows[n] for n in numbers], self.pad)
                labels = batch.pop("labels").to(place)
                outputs = self.model(**{key: value.to(place) for key, value in batch.items()})
                logits, labels = aligned(outputs.logits, labels, "decoder_input_ids" in batch)
                for row, number in enumerate(numbers):
                    learnt = labels[row] != IGNORED
                    said, wanted = logits[row][learnt].float(), labels[row][learnt]
                    loss = torch.nn.functional.cross_entropy(said, wanted, reduction="sum")
                    right = int((said.argmax(-1) == wanted).sum())
                    found[number] = (float(loss), len(wanted), right)
                done += len(numbers)
                if context is not None:
                    context.progress.advance(done)
                    context.check_stop(f"stopped at text {done} of {len(rows)} (scoring)")
        return found

    def holds(self, talk: Talk) -> bool:
        """Whether a conversation and the longest answer are within what the model reads."""
        whole = self.model.config.is_encoder_decoder
        text = dialogues.rendered(self.tokenizer, talk, begin_answer=not whole)
        ids = self.tokenizer(text, add_special_tokens=whole, verbose=False)["input_ids"]
        return len(ids) <= self._room(whole)

    def _room(self, whole: bool) -> int:
        """Tokens that a conversation may take, what is left to the answer taken off."""
        limit = self.model.generation_config.max_new_tokens or 64
        if whole:
            return self.max_length
        return max(self.max_length - limit, self.max_length // ROOM)

    @property
    def pad(self) -> int:
        """The token that fills up a batch."""
        return int(self.tokenizer.pad_token_id)

    def _written(self, talks: Sequence[Talk]) -> list[str]:
        texts = [dialogues.rendered(self.tokenizer, talk, begin_answer=True) for talk in talks]
        whole = self.model.config.is_encoder_decoder
        if whole:
            texts = [dialogues.rendered(self.tokenizer, talk) for talk in talks]
        limit = self.model.generation_config.max_new_tokens or 64
        room = self._room(whole)
        ids = self.tokenizer(texts, add_special_tokens=whole, verbose=False)["input_ids"]
        ids = [row[-room:] for row in ids]  # what was said last matters most
        longest = max(map(len, ids))
        place = next(self.model.parameters()).device
        inputs = torch.tensor([[self.pad] * (longest - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids])
        with torch.inference_mode(), warnings.catch_warnings():
            # PEFT says so at every answer of a soft prompt, and passes the mask that it needs.
            warnings.filterwarnings("ignore", message="Position ids are not supported")
            written = self.model.generate(
                input_ids=inputs.to(place),
                attention_mask=mask.to(place),
                do_sample=False,
                max_new_tokens=limit if whole else min(limit, max(1, self.max_length - longest)),
                pad_token_id=self.pad,
            )
        new = written if whole else written[:, longest:]
        return [text.strip() for text in self.tokenizer.batch_decode(new, skip_special_tokens=True)]


def aligned(
    logits: torch.Tensor, labels: torch.Tensor, shifted: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, T, V] beside the labels [B, T] that they are to foretell.

    A decoder foretells the next token; trained vectors before its input have no labels, so only
    the last logits are taken. A writing half's labels stand beside its logits already.
    """
    if shifted:
        return logits, labels
    return logits[:, -labels.shape[1] :][:, :-1], labels[:, 1:]


def token_loss(
    outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None, shifted: bool = False
) -> torch.Tensor:
    """The loss per learnt token over a whole step, however it is cut into micro-batches."""
    logits, wanted = aligned(outputs.logits, labels, shifted)
    learnt = wanted != IGNORED
    summed = torch.nn.functional.cross_entropy(
        logits[learnt].float(), wanted[learnt], reduction="sum"
    )
    return summed / (learnt.sum() if num_items_in_batch is None else num_items_in_batch)


def base(
    source: str, name: str, max_length: int | None, loading: Mapping[str, Any] | None = None
) -> tuple[Base, bool]:
    """A model that answers before it learns, and whether its tokenizer lacked a template.

    Args:
        loading: more of what `from_pretrained` takes.
    Raises:
        UserError: it cannot be loaded, has weights missing, or its answers would never end.
    """
    task = answering(source, name)
    with weights.loading(name):
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model, report = MODELS[task].from_pretrained(
            source,
            output_loading_info=True,
            use_safetensors=True,
            **{"dtype": torch.float32, **(loading or {})},
        )
    fourbit.mended(model)
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"the model {name!r} ({model.config.model_type}) cannot write: "
            f"{len(missing)} weights such as {missing[0]} are not in its files; "
            "take a decoder, or data of text,label"
        )
    plain = dialogues.templated(tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    length = context_length(tokenizer, model.config, max_length, None)
    tokenizer.model_max_length = length
    model.generation_config.eos_token_id = dialogues.ends_of(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return Base(model, tokenizer, length, frozenset(), source, name, task), plain


def load(folder: Path) -> Generator:
    """The model that answers in a `model/` folder.

    Raises:
        UserError: there is none, or it cannot be loaded.
    """
    weights.refuse_unfinished(folder)
    silence.quiet()
    with weights.loading(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = MODELS[answering(str(folder), str(folder))].from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        )
    fourbit.mended(model)
    model.requires_grad_(False).eval()
    if not getattr(model, "is_quantized", False):
        model.to(precision.device())
    return Generator(model, tokenizer, int(tokenizer.model_max_length))


def encoded(
    start: Generator | Base, rows: Sequence[Row], overlong: Any = "truncate", learn: str = "answers"
) -> dialogues.Dialogues:
    """Conversations as the model's rows of tokens."""
    if start.model.config.is_encoder_decoder:
        begin = start.model.config.decoder_start_token_id
        return dialogues.exchanges(
            start.tokenizer, rows, start.max_length, start.tokenizer.pad_token_id if begin is None
            else begin,
        )  # fmt: skip
    return dialogues.dialogues(
        start.tokenizer, rows, start.max_length, overlong, learn == "everything"
    )


def measured(
    generator: Generator, rows: Sequence[Row], answered: int, context: Context | None = None
) -> tuple[dict[str, Metric], list[str]]:
    """Loss and right tokens on the answers of all rows, answers in full to some; and those.

    Returns:
        `loss` (nats per token), `perplexity`, `token_accuracy`, and for the first `answered`
        rows `exact_match` and `token_f1` of the answers written.
    Raises:
        UserError: no row has an answer within the context.
    """
    found = [one for one in generator.losses(encoded(generator, rows).rows, context) if one[1]]
    if not found:
        raise UserError("no test row has an answer within max_length; raise it")
    tokens = sum(count for _, count, _ in found)
    loss = sum(summed for summed, _, _ in found) / tokens
    metrics = {
        "loss": Metric(loss, n=tokens),
        "perplexity": Metric(math.exp(min(loss, 700.0)), n=tokens),
        "token_accuracy": Metric(sum(right for _, _, right in found) / tokens, n=tokens),
    }
    some = list(rows[:answered])
    if not some:
        return metrics, []
    if context is not None:
        context.progress.start("answering", len(some), "texts")
    said = list(generator.answers((dialogues.prompt_of(row) for row in some), context))
    wanted = [[target_text(row) or ""] for row in some]
    metrics["exact_match"] = evaluate.exact_match(said, wanted)
    metrics["token_f1"] = evaluate.token_f1(said, wanted)
    return metrics, said


__all__ = ["ANSWER", "REWRITE", "Generator", "aligned", "base", "encoded", "load", "measured",
           "token_loss"]  # fmt: skip
