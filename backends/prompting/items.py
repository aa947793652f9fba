"""What is asked and what is shown: items, label set and examples out of a step's data."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from backends import data
from backends.base import Data
from backends.data import Completion, Labelled, Message, Messages, Row, Text
from backends.prompting import Settings
from backends.prompting.prompts import Example
from knowledge.errors import UserError


class Item(msgspec.Struct, frozen=True):
    """One text to ask about, with the turns before it and the answers accepted for it."""

    line: int
    text: str
    before: tuple[Message, ...] = ()
    accepted: tuple[str, ...] = ()


class Items:
    """Items that can be gone through again and again; those of a file are never all in memory."""

    def __init__(
        self,
        rows: Sequence[Row] | None,
        where: Data,
        path: str | None,
        count: int,
        picked: frozenset[int] | None = None,
    ) -> None:
        self._rows, self._where, self._path = rows, where, path
        self._count = count
        self._picked = picked

    def __len__(self) -> int:
        return self._count if self._picked is None else len(self._picked)

    def __iter__(self) -> Iterator[Item]:
        rows = self._rows if self._rows is not None else _rows(self._where, self._path)
        for number, row in enumerate(rows):
            if self._picked is None or number in self._picked:
                yield item(row)

    def drawn(self, count: int, seed: int) -> "Items":
        """So many of them by chance, in their order: files are often sorted by label."""
        picked = frozenset(Random(seed).sample(range(self._count), count))
        return Items(self._rows, self._where, self._path, self._count, picked)


class Task(msgspec.Struct, frozen=True):
    """The items of a step; `labels` is empty where the answer is free text.

    `pool` are the solved items that examples are chosen from; `dev` the held-out ones that a
    search may ask, never among the items; `train` those that a tuning learns from.
    """

    items: Items
    pool: tuple[Example, ...]
    labels: tuple[str, ...]
    dev: tuple[Item, ...] = ()
    train: tuple[Item, ...] = ()
    notes: tuple[str, ...] = ()


class _Seen(msgspec.Struct, frozen=True):
    """What one pass over the rows to ask about shows."""

    count: int
    labels: frozenset[str]


def task(where: Data, settings: Settings, seed: int) -> Task:
    """The task that a step's data makes; a test file is gone through once, row by row.

    Raises:
        UserError: no data, a shape that cannot be asked, one label only, or a test label that is
            not in the set.
    """
    if where.train is None and where.test is None:
        raise UserError("no data to ask about; set data: {test: FILE}, and train for examples")
    notes: list[str] = []
    shown: Sequence[Row] = () if where.train is None else tuple(_rows(where, where.train))
    held: Sequence[Row] | None = None
    if where.test is None:
        shown, held = data.split(shown, settings.test_share, seed)
        notes.append(f"no test data: {settings.test_share:.0%} of the training data is asked")
    seen = _seen(_rows(where, where.test) if held is None else iter(held))
    labels = _labels(shown, seen.labels, settings)
    if settings.tuning is not None and not shown:
        raise UserError("tuning learns from training data; set data: {train: FILE}")
    if _most_shots(settings) and not shown:
        raise UserError(f"{_most_shots(settings)} shots need examples; set data: {{train: FILE}}")
    asked = Items(held, where, where.test, seen.count)
    if settings.limit is not None and settings.limit < len(asked):
        notes.append(
            f"{settings.limit:,} of {len(asked):,} test items are asked, drawn by the seed"
        )
        asked = asked.drawn(settings.limit, seed)
    shown, dev = _dev(where, settings, shown, seed)
    pool = tuple(_example(row) for row in shown) if _most_shots(settings) else ()
    learned = tuple(item(row) for row in shown) if settings.tuning is not None else ()
    return Task(asked, pool, labels, dev, learned, tuple(notes))


def items(where: Data) -> Items:
    """The items of the test data of `advisor evaluate`."""
    path = where.test or where.train
    if path is None:
        raise UserError("no data to evaluate on; set data: {test: FILE}")
    return Items(None, where, path, _seen(_rows(where, path)).count)


def item(row: Row) -> Item:
    """A row as an item.

    Raises:
        UserError: it is of a shape that cannot be asked and scored.
    """
    if isinstance(row, Text):
        return Item(row.line, row.text)
    if isinstance(row, Labelled):
        return Item(row.line, row.text, accepted=(row.label,))
    if isinstance(row, Completion):
        return Item(row.line, row.prompt, accepted=(row.completion, *row.also))
    if isinstance(row, Messages):
        turns, answer = row.exchange()
        if not turns:
            raise UserError(f"the conversation in line {row.line} asks nothing before its answer")
        return Item(row.line, turns[-1].content, turns[:-1], (answer,))
    raise UserError(
        f"rows of {type(row).__name__.lower()} cannot be asked and scored; give texts with labels, "
        f"prompts with completions, or messages"
    )


def _rows(where: Data, path: str | None) -> Iterator[Row]:
    assert path is not None  # the caller looked
    return data.stream(Path(path), where.shape, where.columns)[2]


def _seen(rows: Iterator[Row]) -> _Seen:
    count, labels = 0, set()
    for row in rows:
        count += 1
        item(row)  # refuses shapes that cannot be asked
        if isinstance(row, Labelled):
            labels.add(row.label)
    return _Seen(count, frozenset(labels))


def _dev(
    where: Data, settings: Settings, shown: Sequence[Row], seed: int
) -> tuple[Sequence[Row], tuple[Item, ...]]:
    """The rows to choose examples from, and those held out for a search."""
    if settings.search is None:
        return shown, ()
    if where.validation is not None:
        held: Sequence[Row] = tuple(_rows(where, where.validation))
    elif shown:
        share = min(0.5, settings.search.items / len(shown))
        shown, held = data.split(shown, share, seed + 1)
    else:
        raise UserError("search compares on held-out data; set data: {train: FILE} or validation")
    order = sorted(
        range(len(held)), key=Random(seed).sample(range(len(held)), len(held)).__getitem__
    )
    return shown, tuple(item(held[number]) for number in order[: settings.search.items])


def _most_shots(settings: Settings) -> int:
    searched = settings.search.shots if settings.search is not None else ()
    return max(settings.shots, *searched, 0)


def _example(row: Row) -> Example:
    solved = item(row)
    return Example(solved.text, solved.accepted[0] if solved.accepted else "")


def _labels(shown: Sequence[Row], wanted: frozenset[str], settings: Settings) -> tuple[str, ...]:
    """The label set: the settings', else the training data's, else the test data's."""
    if settings.schema is not None or settings.pattern is not None:
        return ()
    labelled = {row.label for row in shown if isinstance(row, Labelled)}
    labels = tuple(settings.labels or sorted(labelled or wanted))
    if not labels:
        return ()
    if len(labels) < 2:
        raise UserError(f"one label only ({labels[0]!r}); at least two are needed to tell apart")
    strange = sorted(wanted - set(labels))
    if strange:
        raise UserError(
            f"the test data has {len(strange)} labels outside the set, {strange[0]!r} for one; "
            f"add them to the training data or to labels"
        )
    undefined = sorted(set(settings.definitions) - set(labels))
    if undefined:
        raise UserError(f"definitions: {undefined[0]!r} is no label; known: {', '.join(labels)}")
    return labels
