"""What is learnt from packed tokens: the next one, hidden ones, or spans taken out.

Shapes: B rows, T tokens, V vocabulary, S tokens of a target.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from backends.scratch.stream.order import key
from backends.training.batches import IGNORED
from knowledge.errors import UserError

HIDDEN, RANDOM = 0.8, 0.1  # https://arxiv.org/abs/1810.04805, section 3.1
MASKED = 2**61  # a number that names the draws of masks among the keys
Tokens = NDArray[np.int64]


class Batch(NamedTuple):
    """What a model reads, and what it is to say [B, T or S] (-100: nothing)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor


Objective = Callable[[Tokens, int], Batch]
"""From tokens (B, T + 1) and a number that its draws follow from, to a batch."""


def causal(rows_BT1: Tokens, number: int = 0) -> Batch:
    """Each token is to be said from those before it."""
    both = torch.from_numpy(rows_BT1)
    return Batch({"input_ids": both[:, :-1]}, both[:, 1:].contiguous())


class Masked:
    """Some tokens are hidden, or replaced by others, and are to be said from all the rest.

    Of the tokens chosen four fifths are hidden, a tenth are random ones, a tenth stay.
    Source: https://arxiv.org/abs/1810.04805, section 3.1.
    """

    def __init__(self, tokenizer: Any, share: float, seed: int) -> None:
        """For a tokenizer with a mask token.

        Raises:
            UserError: it has none.
        """
        if tokenizer.mask_token_id is None:
            raise UserError(
                "the tokenizer has no mask token, so hidden tokens cannot be learnt; "
                "take an encoder's"
            )
        self.mask, self.share, self.seed = tokenizer.mask_token_id, share, seed
        self.vocabulary = len(tokenizer)
        self.special = np.asarray(sorted(tokenizer.all_special_ids), dtype=np.int64)
        ends = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.ends = None if None in ends else ends

    @property
    def added(self) -> int:
        """Tokens around each row that the tokenizer's model expects."""
        return 0 if self.ends is None else 2

    def __call__(self, rows_BT1: Tokens, number: int) -> Batch:
        """Tokens (B, T + 1), of which the first T are taken, with ends around them."""
        rows = rows_BT1[:, :-1]
        if self.ends is not None:
            rows = np.pad(rows, ((0, 0), (1, 1)), constant_values=0)
            rows[:, 0], rows[:, -1] = self.ends
        chance = np.random.default_rng(key(self.seed, MASKED, number))
        drawn = chance.random(rows.shape)
        chosen = (drawn < self.share) & ~np.isin(rows, self.special)
        shown = np.where(drawn < HIDDEN * self.share, self.mask, rows)
        other = chance.integers(0, self.vocabulary, rows.shape)
        swapped = drawn >= (1 - RANDOM) * self.share
        shown = np.where(swapped, other, shown)
        shown = np.where(chosen, shown, rows)
        labels = np.where(chosen, rows, IGNORED)
        return Batch({"input_ids": torch.from_numpy(shown)}, torch.from_numpy(labels))


class Spans:
    """Spans are taken out, each leaving a sentinel, and are to be written after theirs.

    Source: https://arxiv.org/abs/1910.10683, section 3.1.4 and figure 2.
    """

    def __init__(self, tokenizer: Any, share: float, mean: float, seed: int) -> None:
        """For a tokenizer with T5's sentinels.

        Raises:
            UserError: it has none.
        """
        found = sentinels(tokenizer)
        if not found:
            raise UserError(
                "the tokenizer has no <extra_id_0>, so spans cannot be taken out; take T5's"
            )
        self.sentinels, self.end = found, int(tokenizer.eos_token_id)
        self.start = int(tokenizer.pad_token_id)
        self.share, self.mean, self.seed = share, mean, seed

    def __call__(self, rows_BT1: Tokens, number: int) -> Batch:
        """Tokens (B, T + 1), of which the first T are taken."""
        chance = np.random.default_rng(key(self.seed, MASKED, number))
        pairs = [
            corrupted(row[:-1], self.share, self.mean, self.sentinels, self.end, chance)
            for row in rows_BT1
        ]
        said = torch.from_numpy(np.stack([target for _, target in pairs]))
        before = torch.cat([torch.full((len(said), 1), self.start), said[:, :-1]], dim=1)
        shown = torch.from_numpy(np.stack([kept for kept, _ in pairs]))
        return Batch({"input_ids": shown, "decoder_input_ids": before}, said)


def sentinels(tokenizer: Any) -> list[int]:
    """The ids of T5's sentinels in order."""
    known = tokenizer.get_vocab()
    return [known[name] for n in range(256) if (name := f"<extra_id_{n}>") in known]


def corrupted(
    row: Tokens, share: float, mean: float, marks: list[int], end: int, chance: np.random.Generator
) -> tuple[Tokens, Tokens]:
    """A row with spans replaced by sentinels, and the spans after their sentinels.

    How many tokens and spans go follows from the row's length, so that all rows of a length have
    inputs of one length and targets of one length.

    Raises:
        UserError: the row is too short, or needs more sentinels than there are.
    """
    out = max(1, round(share * len(row)))
    spans = max(1, round(out / mean))
    if out + spans > len(row):
        raise UserError(f"a context of {len(row)} tokens is too short for spans; raise max_length")
    if spans > len(marks):
        raise UserError(
            f"{spans} spans in {len(row)} tokens, but {len(marks)} sentinels; lower max_length or "
            "raise span"
        )
    gone, stay = _parts(out, spans, chance), _parts(len(row) - out, spans, chance)
    kept: list[Tokens] = []
    said: list[Tokens] = []
    at = 0
    for mark, before, long in zip(marks, stay, gone, strict=False):
        sentinel = np.asarray([mark])
        kept += [row[at : at + before], sentinel]
        said += [sentinel, row[at + before : at + before + long]]
        at += before + long
    last = np.asarray([end])
    return np.concatenate([*kept, last]), np.concatenate([*said, last])


def restored(shown: Tokens, said: Tokens, marks: list[int]) -> Tokens:
    """The row that `corrupted` took apart."""
    known = set(marks)
    spans: dict[int, list[int]] = {}
    held: list[int] = []
    for token in said[:-1].tolist():
        if token in known:
            held = spans.setdefault(token, [])
        else:
            held.append(token)
    whole: list[int] = []
    for token in shown[:-1].tolist():
        whole += spans[token] if token in known else [token]
    return np.asarray(whole, dtype=np.int64)


def loss_of(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, z: float = 0.0) -> torch.Tensor:
    """The mean loss of the tokens that are to be said, with z-loss.

    Source of z-loss: https://arxiv.org/abs/2204.02311, section 5 (log^2 of the softmax's sum).
    """
    learnt = labels_BT != IGNORED
    if torch.compiler.is_compiling():  # no choice by what the labels are, no shape that varies
        logits, picked = logits_BTV.flatten(0, -2).float(), learnt.flatten()
        each = cross_entropy(logits, labels_BT.flatten(), ignore_index=IGNORED, reduction="none")
        if z:
            each = each + z * torch.logsumexp(logits, dim=-1).square() * picked
        return each.sum() / picked.sum().clamp(min=1)
    if not bool(learnt.any()):
        return logits_BTV.float().sum() * 0.0
    if bool(learnt.all()):  # nothing to pick out, and nothing to put back in the backward pass
        logits, labels = logits_BTV.flatten(0, -2).float(), labels_BT.flatten()
    else:
        logits, labels = logits_BTV[learnt].float(), labels_BT[learnt]
    loss = cross_entropy(logits, labels)
    return loss if not z else loss + z * torch.logsumexp(logits, dim=-1).square().mean()


def _parts(total: int, parts: int, chance: np.random.Generator) -> Tokens:
    """A number cut into parts of one at least, every such cut equally likely."""
    cuts: Tokens = np.sort(chance.choice(total - 1, parts - 1, replace=False) + 1)
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)
