"""Rows in batches of like length, padded no further than their longest.

Shapes: B rows of a batch, T tokens of its longest row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

POOL = 50  # batches that are drawn together and sorted by length: random enough, little padding


class Order(torch.utils.data.Sampler):
    """The order of one epoch's rows, a function of seed and epoch alone.

    A resumed run finds the same order without replaying random numbers: transformers' own
    sampler draws it from the global generator, whose state at the epoch's start is lost.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=chance).tolist()
        pool = self.batch * POOL
        batches = []
        for start in range(0, len(shuffled), pool):
            alike = sorted(shuffled[start : start + pool], key=lambda row: -self.lengths[row])
            batches += [alike[i : i + self.batch] for i in range(0, len(alike), self.batch)]
        # Only the last batch may be short: the loader cuts the flat order every `batch` rows.
        full = [rows for rows in batches if len(rows) == self.batch]
        short = [rows for rows in batches if len(rows) < self.batch]
        for place in torch.randperm(len(full), generator=chance).tolist():
            yield from full[place]
        for rows in short:
            yield from rows


def padded(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """A batch: `input_ids` [B, T], `attention_mask` [B, T] and, where rows have one, `labels` [B].

    Args:
        rows: each with `input_ids` and perhaps `labels`.
        pad: the token that fills up.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    ids_BT = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask_BT = torch.zeros((len(rows), longest), dtype=torch.long)
    for place, row in enumerate(rows):
        length = len(row["input_ids"])
        ids_BT[place, :length] = torch.tensor(row["input_ids"], dtype=torch.long)
        mask_BT[place, :length] = 1
    batch = {"input_ids": ids_BT, "attention_mask": mask_BT}
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=torch.long)
    return batch


def sorted_batches(lengths: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Row numbers in batches from the longest to the shortest: the peak of memory comes first."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    for start in range(0, len(order), batch):
        yield order[start : start + batch]
