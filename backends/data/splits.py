"""A part of the rows held back, fairly: by label, duplicates together, the same every time."""

from collections.abc import Mapping, Sequence
from random import Random

from backends.data.characters import normalised
from backends.data.rows import Labelled, Row, input_text
from knowledge.errors import UserError


def split(
    rows: Sequence[Row], share: float, seed: int = 13, groups: Mapping[int, str] | None = None
) -> tuple[list[Row], list[Row]]:
    """The rows to keep and the rows held back, both in the order they came.

    Each label gives its share, and keeps one text at least; rows whose texts are equal after
    normalising go the same way (with the label of the first).

    Args:
        share: how much is held back, above 0 and below 1.
        groups: by line of the file what a row belongs to (`backends.data.groups`); rows of one
            group go the same way too.
    Raises:
        UserError: the share is out of range, or so small that one side would be empty.
    """
    if not 0 < share < 1:
        raise UserError(f"cannot hold back a share of {share}; give a number between 0 and 1")
    held: set[int] = set()
    carried = 0.0
    strata = _strata(rows, groups or {})
    for label, sets in sorted(strata.items()):
        count = sum(len(members) for members in sets)
        due, taken = carried + share * count, 0
        Random(f"{seed} {label}").shuffle(sets)
        for members in sets[1:]:
            if taken + len(members) <= due + 0.5:
                held.update(members)
                taken += len(members)
        carried = due - taken
    if not held:
        apart = sum(map(len, strata.values()))
        alike = ", counting those of one text or group once" if apart < len(rows) else ""
        raise UserError(
            f"cannot hold back {share:.0%} of {apart} row{'s' if apart != 1 else ''}{alike}: "
            "no row would be in it; give more rows, raise the share, or give a file of its own"
        )
    keep = [row for number, row in enumerate(rows) if number not in held]
    return keep, [rows[number] for number in sorted(held)]


def _strata(rows: Sequence[Row], groups: Mapping[int, str]) -> dict[str, list[list[int]]]:
    """For each label the sets of row numbers that must not be parted, by the first row's label.

    Rows of one text belong together, and rows of one group, and so whatever either joins.
    """
    joined = _Joined(len(rows))
    first_of: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows):
        joined.join(number, first_of.setdefault(("text", normalised(input_text(row))), number))
        if row.line in groups:
            joined.join(number, first_of.setdefault(("group", groups[row.line]), number))
    together: dict[int, list[int]] = {}
    for number in range(len(rows)):
        together.setdefault(joined.first(number), []).append(number)
    strata: dict[str, list[list[int]]] = {}
    for members in together.values():
        first = rows[members[0]]
        label = first.label if isinstance(first, Labelled) else ""
        strata.setdefault(label, []).append(members)
    return strata


class _Joined:
    """Numbers that belong together, each known by the lowest of its set."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def first(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        self._above[high] = low
