"""What was measured on the user's own task: results that overrule expectations.

`advisor recommend --measured FILE` (repeatable), or the profile's key `measured`, names a file:

- YAML or JSON: a list of rows, or a mapping with the list under `measured`. A row is a `Measured`:
  `approach` (words of a stack joined by "+", as in "rag+prompt"; "prompt", "head-ft"), `metric`
  (a share, higher is better: accuracy, exact_match, ...), `value`, and where they are known
  `low`, `high` (a 95 % interval), `n` (items), `model` and `source`;
- the `result.json` of a run, or its folder: the approach is that of the plan's methods, the
  metric the first of `METRICS` that its last measured step has.

Rows are compared within the metric that most approaches share. Values lie between 0 and 1.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from advisor.profile import Profile
from knowledge import methods
from knowledge.errors import UserError, unknown
from knowledge.quantities import Range
from knowledge.rules import APPROACHES
from knowledge.statistics import wilson
from knowledge.tables import yaml_value

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
METRICS = ("accuracy", "exact_match", "execution_accuracy", "answer_f1", "token_f1", "macro_f1",
           "f1", "rouge_l", "recall@10", "recall@5")  # fmt: skip
"""What a run is judged by, the first that it has."""


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One approach measured: a share between 0 and 1 with its 95 % interval."""

    approach: str
    metric: str
    value: Share
    low: Share | None = None
    high: Share | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    model: str | None = None
    source: str = "measured"

    @property
    def stack(self) -> frozenset[str]:
        """The approaches measured together."""
        return frozenset(word.strip() for word in self.approach.split("+"))

    @property
    def range(self) -> Range:
        """The value with its interval; Wilson's from `n` where none was given, else bare."""
        low, high = self.low, self.high
        if (low is None or high is None) and self.n is not None:
            bounds = wilson(round(self.value * self.n), self.n)
            low, high = (bounds[0] if low is None else low), (bounds[1] if high is None else high)
        return Range(
            self.value if low is None else min(low, self.value),
            self.value,
            self.value if high is None else max(high, self.value),
        )

    def says(self) -> str:
        """The finding in one sentence."""
        shown = self.range
        items = "" if self.n is None else f" on {self.n:,} items"
        between = f" ({shown.low:.2f} to {shown.high:.2f})" if shown.high > shown.low else ""
        return f"Measured on this task: {self.metric} {self.value:.2f}{between}{items}."


def of(profile: Profile, files: Iterable[Path] = ()) -> tuple[Measured, ...]:
    """What the profile's own file and further ones hold.

    Raises:
        UserError: a file cannot be read or does not hold results.
    """
    paths = [*([Path(profile.measured)] if profile.measured else []), *files]
    return comparable([row for path in dict.fromkeys(paths) for row in read(path)])


def read(path: str | Path) -> tuple[Measured, ...]:
    """The results in a file, or of a run's folder.

    Raises:
        UserError: it cannot be read or does not hold results.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "result.json"
    value = yaml_value(path)
    if isinstance(value, dict) and "steps" in value:
        return (_of_run(value, path),)
    rows = value.get("measured") if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows:
        raise UserError(
            f"{str(path)!r} holds no results; write rows such as "
            "'- {approach: prompt, metric: accuracy, value: 0.81, n: 200}', or give a run's folder"
        )
    return tuple(_row(row, f"{path.name}, row {number}") for number, row in enumerate(rows, 1))


def comparable(rows: Sequence[Measured]) -> tuple[Measured, ...]:
    """The rows of the metric that most approaches share, the latest of each approach.

    Where several metrics are as common, the first stays.
    """
    latest: dict[tuple[str, frozenset[str], str | None], Measured] = {}
    for row in rows:
        latest.pop((row.metric, row.stack, row.model), None)
        latest[row.metric, row.stack, row.model] = row
    metrics: dict[str, set[frozenset[str]]] = {}
    for row in rows:
        metrics.setdefault(row.metric, set()).add(row.stack)
    if not metrics:
        return ()
    metric = max(metrics, key=lambda name: len(metrics[name]))
    return tuple(row for row in latest.values() if row.metric == metric)


def _row(value: Any, place: str) -> Measured:
    try:
        row = msgspec.convert(value, Measured)
    except msgspec.ValidationError as error:
        raise UserError(f"{place}: {error}") from None
    for word in row.stack - set(APPROACHES):
        raise UserError(f"{place}: {unknown('approach', word, APPROACHES)}")
    return row


def _of_run(value: dict[str, Any], path: Path) -> Measured:
    """The result of a run, from its `result.json` (`backends.base.RunResult`)."""
    found = list(_metrics(value["steps"]))
    for wanted in METRICS:
        for name, figure in reversed(found):
            if name == wanted:
                words = dict.fromkeys(_approach(step["method"]) for step in value["steps"])
                keys = ("value", "low", "high", "n")
                plain = {key: figure[key] for key in keys if figure.get(key) is not None}
                row = {"approach": "+".join(words), "metric": name, "source": str(path), **plain}
                return _row(row, path.name)
    raise UserError(
        f"{str(path)!r} measured none of {', '.join(METRICS)}; give it test data, "
        "or write the result into a file of rows"
    )


def _metrics(steps: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for step in steps:
        yield from (step.get("metrics") or {}).items()


def _approach(method: str) -> str:
    return methods.find(method).approach or method
