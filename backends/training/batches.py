"""Rows in batches of like length, padded no further than their longest.

Shapes: B rows of a batch, T tokens of its longest row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

IGNORED = -100  # the label of a token that is not learnt, as torch and transformers have it
FORESEEN = 1_000_000  # rows whose order is looked at to foretell times
POOL = 50  # batches that are drawn together and sorted by length: random enough, little padding


class Order(torch.utils.data.Sampler):
    """The order of one epoch's rows, a function of seed and epoch alone.

    A resumed run finds the same order without replaying random numbers: transformers' own
    sampler draws it from the global generator, whose state at the epoch's start is lost.

    Args:
        batch: rows of a whole optimizer step, all its micro-batches together.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def work(self, micro_batch: int, steps: int) -> list[int]:
        """Tokens of each of so many steps, padding included: what its time goes with.

        Epochs beyond the first million rows are taken to be like those before them.
        """
        found: list[int] = []
        epoch = Order(self.lengths, self.batch, self.seed)
        while len(found) < steps and epoch.epoch * len(self) < FORESEEN:
            places = list(epoch)
            for start in range(0, len(places), self.batch):
                stop = min(start + self.batch, len(places))
                cut = [
                    places[begin : min(begin + micro_batch, stop)]
                    for begin in range(start, stop, micro_batch)
                ]
                found.append(sum(len(part) * max(self.lengths[n] for n in part) for part in cut))
            epoch.set_epoch(epoch.epoch + 1)
        return (found * -(-steps // len(found)))[:steps]

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=chance).tolist()
        pool = self.batch * POOL
        batches = []
        for start in range(0, len(shuffled), pool):
            alike = sorted(shuffled[start : start + pool], key=lambda row: -self.lengths[row])
            batches += [alike[i : i + self.batch] for i in range(0, len(alike), self.batch)]
        # Only the last batch may be short: the loader cuts the flat order every so many rows.
        full = [rows for rows in batches if len(rows) == self.batch]
        short = [rows for rows in batches if len(rows) < self.batch]
        for place in torch.randperm(len(full), generator=chance).tolist():
            yield from full[place]
        for rows in short:
            yield from rows


def padded(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """A batch: `input_ids` [B, T], `attention_mask` [B, T], and of the rest what rows have.

    `labels` are a class of each row [B], or a token each [B, T], where -100 is not learnt;
    `position_ids` [B, T] start anew at each text that is packed into a row, and then there is
    no mask: a position that does not follow the one before it begins another text.

    Args:
        rows: each with `input_ids` and perhaps `labels`, `position_ids`, and for a model of two
            halves `decoder_input_ids`.
        pad: the token that fills up.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    batch = {
        "input_ids": _filled([row["input_ids"] for row in rows], longest, pad),
        "attention_mask": _filled([[1] * len(row["input_ids"]) for row in rows], longest, 0),
    }
    if "position_ids" in rows[0]:
        batch["position_ids"] = _filled([row["position_ids"] for row in rows], longest, 0)
        del batch["attention_mask"]
    if "decoder_input_ids" in rows[0]:
        written = [row["decoder_input_ids"] for row in rows]
        batch["decoder_input_ids"] = _filled(written, max(map(len, written)), pad)
    if "labels" in rows[0]:
        labels = [row["labels"] for row in rows]
        if isinstance(labels[0], int):
            batch["labels"] = torch.tensor(labels, dtype=torch.long)
        else:
            batch["labels"] = _filled(labels, max(map(len, labels)), IGNORED)
    return batch


def _filled(rows: Sequence[Sequence[int]], longest: int, filler: int) -> torch.Tensor:
    """Rows of numbers as one tensor [B, T]."""
    full_BT = torch.full((len(rows), longest), filler, dtype=torch.long)
    for place, row in enumerate(rows):
        full_BT[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return full_BT


def sorted_batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Row numbers in batches from the longest to the shortest: the peak of memory comes first."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), batch):
        yield order[start : start + batch]
