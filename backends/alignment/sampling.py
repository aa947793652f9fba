"""Answers drawn from a model, and how likely models hold them.

Shapes: B answers of a batch, T tokens of the longest prompt with its answer, V vocabulary. What
is said of a token stands at the place before it, where it is foretold: [B, T - 1].
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from backends.base import Context
from backends.finetune import dialogues
from backends.finetune.generators import Generator

AT_ONCE = 64  # answers drawn or scored side by side


class Sample(NamedTuple):
    """One answer to a prompt; `ended` is whether the model ended it itself."""

    prompt: list[int]
    answer: list[int]
    text: str
    ended: bool


class Batch(NamedTuple):
    """Samples as tensors: tokens [B, T], which are there [B, T], which answer [B, T - 1]."""

    ids: torch.Tensor
    mask: torch.Tensor
    said: torch.Tensor

    def rows(self, which: torch.Tensor) -> "Batch":
        """Some of its rows."""
        return Batch(self.ids[which], self.mask[which], self.said[which])


def drawn(
    speaker: Generator, prompts: Sequence[list[int]], limit: int, temperature: float
) -> list[Sample]:
    """One answer to each prompt, in order, drawn from all of the vocabulary."""
    found: list[Sample] = []
    for start in range(0, len(prompts), AT_ONCE):
        found += _drawn(speaker, prompts[start : start + AT_ONCE], limit, temperature)
    return found


def drawing(
    speaker: Generator,
    prompts: Sequence[list[int]],
    limit: int,
    temperature: float,
    context: Context,
    label: str,
) -> Iterator[Sample]:
    """As `drawn`, with progress, and an end where the user asks for it."""
    context.progress.start(label, len(prompts), "answers")
    for start in range(0, len(prompts), AT_ONCE):
        yield from _drawn(speaker, prompts[start : start + AT_ONCE], limit, temperature)
        done = min(len(prompts), start + AT_ONCE)
        context.progress.advance(done)
        context.check_stop(f"stopped at answer {done} of {len(prompts)} ({label})")


def _drawn(
    speaker: Generator, prompts: Sequence[list[int]], limit: int, temperature: float
) -> list[Sample]:
    longest = max(map(len, prompts))
    place = next(speaker.model.parameters()).device
    ids = torch.tensor([[speaker.pad] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    ends = dialogues.ends_of(speaker.tokenizer)
    was_training = speaker.model.training
    speaker.model.eval()
    with torch.no_grad():
        written = speaker.model.generate(
            input_ids=ids.to(place),
            attention_mask=mask.to(place),
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=limit,
            eos_token_id=ends,
            pad_token_id=speaker.pad,
        )
    speaker.model.train(was_training)
    found = []
    for prompt, row in zip(prompts, written[:, longest:].tolist(), strict=True):
        stop = next((n for n, token in enumerate(row) if token in ends), None)
        answer = row if stop is None else row[: stop + 1]
        text = speaker.tokenizer.decode(answer, skip_special_tokens=True).strip()
        found.append(Sample(prompt, answer, text, stop is not None))
    return found


def batch(samples: Sequence[Sample], pad: int, place: Any = "cpu") -> Batch:
    """Samples as tensors, filled up at the end."""
    rows = [[*one.prompt, *one.answer] for one in samples]
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    said = torch.zeros((len(rows), longest - 1), dtype=torch.bool)
    for n, (one, row) in enumerate(zip(samples, rows, strict=True)):
        ids[n, : len(row)] = torch.tensor(row)
        mask[n, : len(row)] = 1
        said[n, len(one.prompt) - 1 : len(row) - 1] = True
    return Batch(ids.to(place), mask.to(place), said.to(place))


def logps(model: Any, some: Batch, temperature: float = 1.0) -> torch.Tensor:
    """The log-probability of each token [B, T - 1], zero outside the answers."""
    logits = model(input_ids=some.ids, attention_mask=some.mask, use_cache=False).logits
    dtype = torch.promote_types(logits.dtype, torch.float32)
    all_BTV = torch.log_softmax(logits[:, :-1].to(dtype) / temperature, dim=-1)
    picked = all_BTV.gather(-1, some.ids[:, 1:, None]).squeeze(-1)
    return picked * some.said


def summed(
    score: Callable[[Batch], torch.Tensor],
    samples: Sequence[Sample],
    pad: int,
    place: Any,
    at_once: int,
) -> torch.Tensor:
    """For each sample what a score of its tokens sums to [B], without gradients."""
    found = torch.zeros(len(samples), dtype=torch.float64)
    order = sorted(range(len(samples)), key=lambda n: -len(samples[n].prompt + samples[n].answer))
    with torch.no_grad():
        for start in range(0, len(order), at_once):
            which = order[start : start + at_once]
            tokens = score(batch([samples[n] for n in which], pad, place))
            found[which] = tokens.sum(-1).double().cpu()
    return found
