"""What a prompt run said to test rows, to compare a tuned model with."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends.base import Context
from knowledge.errors import UserError

PREDICTIONS = "predictions.jsonl"


class Said(msgspec.Struct, frozen=True):
    """A line of a prompt run's predictions, as far as it matters here."""

    line: int
    label: str | None = None


def labels(named: str, context: Context, lines: Sequence[int]) -> list[str | None]:
    """The label that a prompt run gave to each test row, by its line in the file; None for none.

    Args:
        named: `step:NAME` or a run's folder.
    Raises:
        UserError: there is no such run, or it was asked about other rows.
    """
    folder = Path(named).expanduser()
    if named.startswith("step:"):
        name = named.removeprefix("step:")
        if name not in context.artefacts:
            raise UserError(f"against: {named!r}: no earlier step has that name; check the plan")
        folder = context.artefacts[name]
    path = folder / PREDICTIONS
    if not path.is_file():
        raise UserError(f"against: {str(folder)!r} holds no {PREDICTIONS}; is it a prompt's run?")
    said = {
        one.line: one.label
        for line in path.read_bytes().splitlines()
        for one in [msgspec.json.decode(line, type=Said)]
    }
    missing = [line for line in lines if line not in said]
    if missing:
        raise UserError(
            f"against: {named!r} was not asked about {len(missing):,} of {len(lines):,} test rows "
            f"(line {missing[0]}); give both steps the same test file, and the prompt no limit"
        )
    return [said[line] for line in lines]
