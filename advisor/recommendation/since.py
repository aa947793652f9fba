"""What changed since an earlier recommendation, and why its answer did or did not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from advisor.profile import FILES, settled
from advisor.recommendation.flips import first
from advisor.recommendation.records import Recommendation, Since, Was
from advisor.recommendation.words import listed, plain
from knowledge.errors import UserError
from knowledge.files import text_of

TOLD_FROM = 0.01  # changes of a cost by less are not told
SILENT = {*FILES, "name"}  # answers that are no facts of the decision


class Cost(msgspec.Struct, frozen=True):
    """Of an estimate, its cost [USD]."""

    mid: float


class Paid(msgspec.Struct, frozen=True):
    """Of an estimate, its money."""

    usd: Cost | None = None


class Figures(msgspec.Struct, frozen=True):
    """Of an estimate, what is compared."""

    money: Paid = Paid()


class Option(msgspec.Struct, frozen=True):
    """Of an earlier option, what is compared."""

    id: str
    model: str | None = None
    estimate: Figures | None = None


class Earlier(msgspec.Struct, frozen=True):
    """Of an earlier recommendation, as `advisor recommend --json` printed it, what is compared."""

    verdict: str
    stack: tuple[str, ...]
    delivery: str
    options: tuple[Option, ...] = ()
    answers: dict[str, Any] | None = None
    bases: tuple[str, ...] | None = None
    prices_as_of: str | None = None


def read(path: str | Path) -> Earlier:
    """An earlier recommendation.

    Raises:
        UserError: the file cannot be read or holds none.
    """
    try:
        return msgspec.json.decode(text_of(Path(path), "JSON file"), type=Earlier)
    except msgspec.MsgspecError as error:
        raise UserError(
            f"{str(path)!r} holds no recommendation ({error}); "
            "write one with: advisor recommend PROFILE --json"
        ) from None


def compared(now: Recommendation, earlier: Earlier) -> Recommendation:
    """The recommendation with what changed since an earlier one."""
    model = earlier.options[0].model if earlier.options else None
    answers = tuple(_answers(earlier.answers, now.answers))
    prices = tuple(_prices(earlier, now))
    models = tuple(_models(earlier, now, answered=bool(answers)))
    same = (earlier.stack, earlier.delivery) == (now.stack, now.delivery)
    return replace(
        now,
        since=Since(
            stack=earlier.stack,
            delivery=earlier.delivery,
            model=model,
            same_answer=same,
            why=_why(now, earlier, same, answers, bool(prices or models)),
            answers=answers,
            prices=prices,
            models=models,
        ),
    )


def _answers(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[Was]:
    if before is None:
        return
    after = msgspec.to_builtins(dict(after))
    for key in dict.fromkeys((*before, *after)):
        if key not in SILENT and before.get(key) != after.get(key):
            yield Was(key, before.get(key), after.get(key))


def _prices(earlier: Earlier, now: Recommendation) -> Iterator[Was]:
    if earlier.prices_as_of != now.prices_as_of:
        yield Was("prices as of", earlier.prices_as_of, now.prices_as_of)
    costs = {option.id: _usd(option.estimate) for option in earlier.options}
    for option in now.options:
        before, after = costs.get(option.id), _usd(option.estimate)
        if before is None or after is None:
            continue
        if abs(after - before) > TOLD_FROM * max(before, after):
            yield Was(f"cost of {option.id}", before, after)


def _usd(estimate: Any) -> float | None:
    usd = None if estimate is None else estimate.money.usd
    return None if usd is None else float(usd.mid)


def _models(earlier: Earlier, now: Recommendation, *, answered: bool) -> Iterator[Was]:
    """Models that came or went; where answers changed too, that may be all because of them."""
    if earlier.bases is not None and not answered:
        for name in sorted(set(now.bases) - set(earlier.bases)):
            yield Was(name, None, "considered")
        for name in sorted(set(earlier.bases) - set(now.bases)):
            yield Was(name, "considered", None)
    before = earlier.options[0].model if earlier.options else None
    after = now.options[0].model if now.options else None
    if before != after:
        yield Was("model of the first place", before, after)


def _why(
    now: Recommendation, earlier: Earlier, same: bool, answers: tuple[Was, ...], other: bool
) -> str:
    """Why the answer did or did not change, found by taking changed answers back one by one."""
    was = f"{listed(earlier.stack)} ({earlier.delivery})" if earlier.stack else "nothing"
    if same:
        if not answers and not other:
            return f"The same answer as before, {was}: nothing that it rests on has changed."
        named = f" ({', '.join(change.what for change in answers)})" if answers else ""
        return f"The same answer as before, {was}: no change{named} reaches a flip."
    blamed = [change for change in answers if _restores(change, now, earlier)]
    if blamed:
        each = (f"{c.what} is {_said(c.after)}, was {_said(c.before)}" for c in blamed)
        return f"It was {was}; it changed because {'; '.join(each)}."
    if answers and earlier.answers is not None:
        old = first(settled(earlier.answers).answers())
        if old is not None and (old.stack, old.delivery) == (earlier.stack, earlier.delivery):
            names = " and ".join(change.what for change in answers)
            return f"It was {was}; it changed because {names} changed together."
    if earlier.answers is None:
        return f"It was {was}; that file does not say for which answers, so why is unknown."
    return f"It was {was}; the answers are not why: rules, models, prices or results changed."


def _restores(change: Was, now: Recommendation, earlier: Earlier) -> bool:
    """Whether taking one changed answer back restores the earlier first place."""
    answers = {**now.answers, change.what: change.before}
    known = {key: value for key, value in answers.items() if value is not None}
    then = first(settled(known).answers())
    return then is not None and (then.stack, then.delivery) == (earlier.stack, earlier.delivery)


def _said(value: Any) -> str:
    return "not known" if value is None else plain(value)
