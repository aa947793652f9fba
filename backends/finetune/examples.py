"""The rows of a classification step: read, checked, split, and turned into tokens."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends import data
from backends.base import Data, Step
from backends.data import Labelled
from knowledge.errors import UserError, unknown

LONGEST = 512  # tokens, where nobody says otherwise: attention's memory grows with the square
NO_LIMIT = 10**9  # tokenizers say some such number when they know no limit


class Examples(msgspec.Struct, frozen=True):
    """Texts with labels: to train on, to choose by (perhaps none), and to score on."""

    train: Sequence[Labelled]
    validation: Sequence[Labelled] | None
    test: Sequence[Labelled]
    classes: tuple[str, ...]
    held_out: bool

    def counts(self) -> dict[str, int]:
        """How many rows and classes there are."""
        sizes = Counter(row.label for row in self.train)
        found = {
            "train": len(self.train),
            "test": len(self.test),
            "classes": len(self.classes),
            "smallest_class": min(sizes.values()),
            "largest_class": max(sizes.values()),
        }
        return found if self.validation is None else {**found, "validation": len(self.validation)}

    def majority(self) -> str:
        """The commonest label of the training rows."""
        return Counter(row.label for row in self.train).most_common(1)[0][0]


def examples(step: Step, test_share: float, validation_share: float | None, seed: int) -> Examples:
    """The rows of a step's files.

    Without a test file a share of the training rows is held out for it, by label and with
    duplicates on one side (and rows of one group, where `data.group` names a column).

    Raises:
        UserError: no training file, an unreadable one, rows without label, fewer than two
            classes, or a label in another file that the training file lacks.
    """
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no training file; set data: {{train: FILE}}")
    train = list(labelled(step.data, step.data.train))
    classes = _classes(train, step.data.train)
    kin = data.groups(step.data.train, step.data.group)
    if step.data.test is None:
        train, test = _held_out(train, test_share, seed, kin)
    else:
        test = list(labelled(step.data, step.data.test))
        _known(test, classes, step.data.test)
    validation = None
    if step.data.validation is not None:
        validation = list(labelled(step.data, step.data.validation))
        _known(validation, classes, step.data.validation)
    elif validation_share is not None:
        train, validation = _held_out(train, validation_share, seed + 1, kin)
    return Examples(train, validation, test, classes, held_out=step.data.test is None)


def labelled(where: Data, path: str) -> tuple[Labelled, ...]:
    """The texts with labels in a file."""
    return data.read(Path(path), where.shape, where.columns).labelled()


def tokens(tokenizer: Any, texts: Iterable[str], max_length: int) -> tuple[list[list[int]], int]:
    """The token ids of each text, cut at a length, and how many texts were cut."""
    listed = list(texts)
    if not listed:
        return [], 0
    found = tokenizer(listed, truncation=True, max_length=max_length, verbose=False)["input_ids"]
    full = [number for number, ids in enumerate(found) if len(ids) == max_length]
    uncut = tokenizer([listed[n] for n in full], verbose=False)["input_ids"] if full else []
    blank = [tokenizer.pad_token_id or 0]  # an empty text, where a tokenizer adds no marks
    return [ids or blank for ids in found], sum(len(ids) > max_length for ids in uncut)


def context_length(
    tokenizer: Any, config: Any, wish: int | None, tuned: int | None, added: int = 0
) -> int:
    """Tokens that an encoder reads of a text: as wished, but no more than its positions.

    Args:
        wish: the user's, or none.
        tuned: the length that a sentence encoder was tuned with, taken where nothing is wished.
        added: positions that a method's own vectors take.
    """
    limits = [wish or LONGEST]
    positions = getattr(config, "max_position_embeddings", None)
    if positions:
        # RoBERTa and its kin count positions from after the padding token's.
        shifted = getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "camembert")
        limits.append((positions - 2 if shifted else positions) - added)
    if tokenizer.model_max_length < NO_LIMIT:
        limits.append(int(tokenizer.model_max_length))
    if wish is None and tuned:
        limits.append(tuned)
    return int(min(limits))


def _classes(rows: Sequence[Labelled], path: str) -> tuple[str, ...]:
    classes = tuple(sorted({row.label for row in rows}))
    if len(classes) < 2:
        raise UserError(
            f"{Path(path).name} has one class only, {classes[0]!r}, in {len(rows):,} "
            f"row{'s' if len(rows) != 1 else ''}; a classifier needs at least two"
        )
    return classes


def _known(rows: Sequence[Labelled], classes: Sequence[str], path: str) -> None:
    there = set(classes)
    for row in rows:
        if row.label not in there:
            raise unknown(
                f"training example for the label (line {row.line} of {Path(path).name})",
                row.label,
                classes,
                "add examples of it to the training file or drop the row",
            )


def _held_out(
    rows: Sequence[Labelled], share: float, seed: int, kin: Mapping[int, str]
) -> tuple[list[Labelled], list[Labelled]]:
    keep, held = data.split(rows, share, seed, kin)
    return (
        [row for row in keep if isinstance(row, Labelled)],
        [row for row in held if isinstance(row, Labelled)],
    )
