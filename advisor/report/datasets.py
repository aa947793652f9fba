"""The view of a data file."""

from collections.abc import Iterator

from advisor.report.view import Line, Table, Text, View
from backends.data import Quantiles, Report


def view(facts: Report) -> View:
    """The report of a dataset."""
    return View(
        title=facts.path,
        answer=tuple(_answer(facts)),
        sections=tuple(_sections(facts)),
        footer=facts.notes,
    )


def _answer(facts: Report) -> Iterator[str]:
    roles = ", ".join(f"{role} = {column!r}" for role, column in facts.columns.items())
    classes = f", {len(facts.labels)} labels" if facts.labels else ""
    yield f"{facts.rows:,} rows{classes} of the shape {facts.shape!r} ({roles})"
    shared = "" if facts.overlap is None else f", {facts.overlap} rows also in the other file"
    twice = f"{facts.duplicates} duplicates, {facts.conflicting_texts} texts under several labels"
    yield twice + shared
    yield f"{facts.emails} rows with an e-mail address, {facts.phones} with a phone number"


def _sections(facts: Report) -> Iterator[Table | Text]:
    yield Text("A row", tuple(Line(line) for line in facts.sample.splitlines()))
    lengths = [("words", facts.words), ("characters", facts.characters)]
    if facts.target_words is not None:
        lengths.append(("words of the answer or label", facts.target_words))
    yield Table(
        "Lengths",
        ("", "shortest", "median", "90 %", "99 %", "longest", "mean"),
        tuple((name, *_cells(values)) for name, values in lengths),
    )
    if facts.labels:
        most = list(facts.labels.items())
        yield Table(
            "Labels, largest first", ("label", "rows"), tuple((n, str(c)) for n, c in most[:12])
        )
        if len(most) > 12:
            name, count = most[-1]
            yield Text("", (Line(f"... and {len(most) - 12} more, down to {name!r} with {count}"),))


def _cells(values: Quantiles) -> tuple[str, ...]:
    whole = (values.min, values.median, values.p90, values.p99, values.max)
    return (*(f"{value:,}" for value in whole), f"{values.mean:.1f}")
