"""A part of the rows held back, fairly: by label, duplicates together, the same every time."""

from collections.abc import Sequence
from random import Random

from backends.data.characters import normalised
from backends.data.rows import Labelled, Row, input_text
from knowledge.errors import UserError


def split(rows: Sequence[Row], share: float, seed: int = 13) -> tuple[list[Row], list[Row]]:
    """The rows to keep and the rows held back, both in the order they came.

    Each label gives its share, and keeps one text at least; rows whose texts are equal after
    normalising go the same way (with the label of the first).

    Args:
        share: how much is held back, above 0 and below 1.
    Raises:
        UserError: the share is out of range, or so small that one side would be empty.
    """
    if not 0 < share < 1:
        raise UserError(f"cannot hold back a share of {share}; give a number between 0 and 1")
    held: set[int] = set()
    carried = 0.0
    for label, groups in sorted(_strata(rows).items()):
        count = sum(len(group) for group in groups)
        due, taken = carried + share * count, 0
        Random(f"{seed} {label}").shuffle(groups)
        for group in groups[1:]:
            if taken + len(group) <= due + 0.5:
                held.update(group)
                taken += len(group)
        carried = due - taken
    if not held:
        raise UserError(
            f"cannot hold back {share:.0%} of {len(rows)} rows: no row would be in it; "
            f"raise the share or give a file of its own"
        )
    keep = [row for number, row in enumerate(rows) if number not in held]
    return keep, [rows[number] for number in sorted(held)]


def _strata(rows: Sequence[Row]) -> dict[str, list[list[int]]]:
    """For each label the groups of row numbers that have one normalised text."""
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(normalised(input_text(row)), []).append(number)
    strata: dict[str, list[list[int]]] = {}
    for group in groups.values():
        first = rows[group[0]]
        label = first.label if isinstance(first, Labelled) else ""
        strata.setdefault(label, []).append(group)
    return strata
