"""What is asked and what is shown: items, label set and examples out of a step's data."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec

from backends import data
from backends.base import Data
from backends.data import Completion, Dataset, Labelled, Message, Messages, Row, Text
from backends.prompting import Settings
from backends.prompting.prompts import Example
from knowledge.errors import UserError


class Item(msgspec.Struct, frozen=True):
    """One text to ask about, with the turns before it and the answers accepted for it."""

    line: int
    text: str
    before: tuple[Message, ...] = ()
    accepted: tuple[str, ...] = ()


class Task(msgspec.Struct, frozen=True):
    """The items of a step; `labels` is empty where the answer is free text."""

    items: tuple[Item, ...]
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


def task(where: Data, settings: Settings, seed: int) -> Task:
    """The task that a step's data makes.

    Raises:
        UserError: no data, a shape that cannot be asked, one label only, or a test label that is
            not in the set.
    """
    train = _dataset(where, where.train)
    test = _dataset(where, where.test)
    notes: list[str] = []
    if train is None and test is None:
        raise UserError("no data to ask about; set data: {test: FILE}, and train for examples")
    shown: Sequence[Row] = train.rows if train is not None else ()
    if test is not None:
        asked: Sequence[Row] = test.rows
    else:
        shown, asked = data.split(shown, settings.test_share, seed)
        notes.append(f"no test data: {settings.test_share:.0%} of the training data is asked")
    labels = _labels(shown, asked, settings)
    if settings.shots and not shown:
        raise UserError(f"{settings.shots} shots need examples; set data: {{train: FILE}}")
    if settings.limit is not None and settings.limit < len(asked):
        notes.append(
            f"{settings.limit:,} of {len(asked):,} test items are asked, drawn by the seed"
        )
        asked = _drawn(asked, settings.limit, seed)
    items = tuple(_item(row) for row in asked)
    return Task(items, _examples(shown, settings, seed), labels, tuple(notes))


def items(where: Data) -> tuple[Item, ...]:
    """The items of the test data of `advisor evaluate`."""
    dataset = _dataset(where, where.test or where.train)
    if dataset is None:
        raise UserError("no data to evaluate on; set data: {test: FILE}")
    return tuple(_item(row) for row in dataset.rows)


def _dataset(where: Data, path: str | None) -> Dataset | None:
    return None if path is None else data.read(Path(path), where.shape, where.columns)


def _item(row: Row) -> Item:
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


def _drawn(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """So many rows by chance, in their order: files are often sorted by label."""
    return [rows[number] for number in sorted(Random(seed).sample(range(len(rows)), count))]


def _labels(shown: Sequence[Row], asked: Sequence[Row], settings: Settings) -> tuple[str, ...]:
    """The label set: the settings', else the training data's, else the test data's."""
    labelled = [row.label for row in shown if isinstance(row, Labelled)]
    wanted = [row.label for row in asked if isinstance(row, Labelled)]
    labels = tuple(settings.labels or sorted(set(labelled or wanted)))
    if not labels:
        return ()
    if len(labels) < 2:
        raise UserError(f"one label only ({labels[0]!r}); at least two are needed to tell apart")
    strange = sorted(set(wanted) - set(labels))
    if strange:
        raise UserError(
            f"the test data has {len(strange)} labels outside the set, {strange[0]!r} for one; "
            f"add them to the training data or to labels"
        )
    undefined = sorted(set(settings.definitions) - set(labels))
    if undefined:
        raise UserError(f"definitions: {undefined[0]!r} is no label; known: {', '.join(labels)}")
    return labels


def _examples(shown: Sequence[Row], settings: Settings, seed: int) -> tuple[Example, ...]:
    """The solved items in every message: drawn by the seed, shuffled so that no label is last."""
    if not settings.shots:
        return ()
    draw = Random(seed)
    pool = list(shown)
    draw.shuffle(pool)
    if settings.choice == "balanced":
        pool = _label_by_label(pool)
    chosen = pool[: settings.shots]
    draw.shuffle(chosen)
    solved = (_item(row) for row in chosen)
    return tuple(Example(item.text, item.accepted[0]) for item in solved if item.accepted)


def _label_by_label(pool: Sequence[Row]) -> list[Row]:
    """Rows reordered so that each label has its first before any has its second; the order of
    the labels is that of the shuffled pool, so that few shots do not mean the first letters."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in pool:
        groups[row.label if isinstance(row, Labelled) else ""].append(row)
    ordered = list(groups.values())
    longest = max((len(group) for group in ordered), default=0)
    return [group[turn] for turn in range(longest) for group in ordered if turn < len(group)]
