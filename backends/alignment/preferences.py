"""What people prefer, in whatever form they said it, as pairs with weights.

A prompt counts as much as any other, however many answers to it were compared: the weights of its
pairs sum to one (https://arxiv.org/abs/2203.02155, section 3.5, for the same reason).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from backends import data
from backends.base import Data, Step
from backends.data import Judged, Preference, Ranking, Rated, Row
from backends.data.rows import Message, Turns
from knowledge.errors import UserError

NAMED = 3  # bad rows that a message names
NEEDED = (
    "prompt,chosen,rejected; prompt,responses,ranking; prompt,completion,rating; "
    "or prompt,completion,label (true or false)"
)


class Pair(NamedTuple):
    """Two answers to a prompt, the better one first; of a tie, neither is."""

    prompt: Turns
    chosen: Turns
    rejected: Turns
    weight: float
    tie: bool
    line: int
    annotator: str | None = None

    @property
    def texts(self) -> tuple[str, str]:
        """The two answers as strings."""
        return spoken(self.chosen), spoken(self.rejected)


class Bad(NamedTuple):
    """A row from which nothing can be learnt, and why."""

    line: int
    reason: str


class Pairs(NamedTuple):
    """Pairs to learn from and to score on, and the rows that were left out."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    skipped: tuple[str, ...]
    held_out: bool


def pairs(step: Step, share: float, seed: int, bad_rows: str) -> Pairs:
    """The pairs of a step's files; without a test file a share of the prompts is held out.

    Args:
        bad_rows: `refuse` or `skip` rows from which nothing can be learnt.
    Raises:
        UserError: no file, no preferences in it, one prompt only, or bad rows that are refused.
    """
    if step.data.train is None:
        raise UserError(f"step {step.name!r} names no preferences; set data: {{train: FILE}}")
    skipped: list[str] = []
    rows = read(step.data, step.data.train, skipped, bad_rows)
    prompts = {data.input_text(row) for row in rows}
    if len(prompts) < 2:
        raise UserError(
            f"{Path(step.data.train).name} compares answers to one prompt only "
            f"({next(iter(prompts))[:60]!r}); what is learnt from it would hold for no other"
        )
    held: Sequence[Row]
    if step.data.test is None:
        rows, held = data.split(rows, share, seed)
    else:
        held = read(step.data, step.data.test, skipped, bad_rows)
    return Pairs(paired(rows), paired(held), tuple(skipped), step.data.test is None)


def read(where: Data, path: str, skipped: list[str], bad_rows: str) -> Sequence[Row]:
    """The rows of a file of preferences from which something can be learnt.

    Raises:
        UserError: it holds none, or a bad row that is to be refused.
    """
    name = Path(path).name
    told = skipped if bad_rows == "skip" else None
    found = data.read(path, where.shape, where.columns, told)
    if not found.rows or not isinstance(found.rows[0], Preference | Ranking | Rated | Judged):
        raise UserError(f"{name} holds no preferences ({found.shape!r}); they are {NEEDED}")
    bad = list(faults(found.rows))
    if bad and bad_rows == "refuse":
        listed = "; ".join(f"line {one.line}: {one.reason}" for one in bad[:NAMED])
        more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise UserError(
            f"{name}: nothing can be learnt from {len(bad):,} of {len(found.rows):,} rows "
            f"({listed}{more}); mend or remove them, or set bad_rows: skip"
        )
    skipped += [f"{name}, line {one.line}: {one.reason}" for one in bad]
    out = {one.line for one in bad}
    kept = [row for row in found.rows if row.line not in out]
    if not kept:
        raise UserError(f"{name}: nothing can be learnt from any row; {skipped[-1]}")
    return kept


def faults(rows: Sequence[Row]) -> Iterator[Bad]:
    """The rows that say nothing about what is better, in the order of the file."""
    groups = _groups(rows)
    for row in rows:
        answers = [spoken(turns) for turns, _ in _answers(row)]
        empty = next((n for n, text in enumerate(answers) if not text.strip()), None)
        if empty is not None:
            yield Bad(row.line, f"answer {_name(row, empty)} is empty")
        elif isinstance(row, Preference) and _same(*answers):
            yield Bad(row.line, "chosen and rejected are the same text")
        elif isinstance(row, Ranking):
            levels: dict[str, int] = {}
            twice = [
                n
                for n, text in enumerate(answers)
                if levels.setdefault(text.strip(), row.ranking[n]) != row.ranking[n]
            ]
            if len(set(row.ranking)) == 1:
                yield Bad(row.line, f"all {len(answers)} answers are tied")
            elif twice:
                name = _name(row, twice[0])
                yield Bad(row.line, f"answer {name} is the same text as one of another rank")
        elif isinstance(row, Rated | Judged):
            values = {value for one in groups[_key(row)] for _, value in _answers(one)}
            if len(values) == 1:
                yield Bad(row.line, "no other answer to its prompt was found better or worse")


def paired(rows: Iterable[Row]) -> tuple[Pair, ...]:
    """Each two answers to a prompt that one person compared, weighted to one a prompt."""
    found = [pair for group in _groups(rows).values() for pair in _pairs_of(group)]
    count: dict[str, int] = {}
    for pair in found:
        key = spoken(pair.prompt)
        count[key] = count.get(key, 0) + 1
    return tuple(pair._replace(weight=1 / count[spoken(pair.prompt)]) for pair in found)


def directed(some: Iterable[Pair], ties: str) -> list[Pair]:
    """Pairs for a loss that knows no ties: each tie half a pair each way, or none."""
    found: list[Pair] = []
    for pair in some:
        if not pair.tie:
            found.append(pair)
        elif ties == "both":
            half = pair._replace(weight=pair.weight / 2)
            found += [half, half._replace(chosen=pair.rejected, rejected=pair.chosen)]
    return found


def spoken(turns: Turns) -> str:
    """What is said in some turns, as one text."""
    return "\n".join(turn.content or turn.calls or "" for turn in turns)


def prompt_of(row: Row) -> Turns:
    """The turns that an answer to a row's prompt follows."""
    if isinstance(row, data.Messages):
        return row.exchange()[0]
    prompt = row.prompt if hasattr(row, "prompt") else data.input_text(row)
    return prompt if isinstance(prompt, tuple) else (Message("user", prompt),)


def _pairs_of(group: Sequence[Row]) -> Iterator[Pair]:
    """The pairs of rows that are compared with each other; those alike in every way once."""
    first = group[0]
    if isinstance(first, Preference):
        for row in group:
            if isinstance(row, Preference):
                sides = _turns(row.chosen), _turns(row.rejected)
                yield Pair(prompt_of(row), *sides, 1.0, False, row.line, row.annotator)
        return
    for compared in [[row] for row in group] if isinstance(first, Ranking) else [group]:
        answers = [(turns, value, row) for row in compared for turns, value in _answers(row)]
        for (one, good, row), (other, less, _) in combinations(answers, 2):
            if _same(spoken(one), spoken(other)):
                continue
            better, worse = (one, other) if good >= less else (other, one)
            about = getattr(row, "annotator", None)
            yield Pair(prompt_of(row), better, worse, 1.0, good == less, row.line, about)


def _answers(row: Row) -> list[tuple[Turns, float]]:
    """The answers of a row with how good each is; more is better."""
    if isinstance(row, Preference):
        return [(_turns(row.chosen), 1.0), (_turns(row.rejected), 0.0)]
    if isinstance(row, Ranking):
        return [
            (_turns(text), -float(rank))
            for text, rank in zip(row.responses, row.ranking, strict=True)
        ]
    if isinstance(row, Rated):
        return [(_turns(row.completion), row.rating)]
    if isinstance(row, Judged):
        return [(_turns(row.completion), float(row.good))]
    return []


def _groups(rows: Iterable[Row]) -> Mapping[tuple[str, str | None], list[Row]]:
    """Rows by prompt and by who judged: ratings of two people are not on one scale."""
    found: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        found.setdefault(_key(row), []).append(row)
    return found


def _key(row: Row) -> tuple[str, str | None]:
    return data.input_text(row), getattr(row, "annotator", None)


def _turns(said: str | Turns) -> Turns:
    return said if isinstance(said, tuple) else (Message("assistant", said),)


def _same(one: str, other: str) -> bool:
    return one.strip() == other.strip()


def _name(row: Row, place: int) -> str:
    if isinstance(row, Preference):
        return ("chosen", "rejected")[place]
    return repr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place % 26])
