"""The view of the user's own runs: predicted beside measured, and what estimates learn of it."""

from collections.abc import Iterator, Sequence

from advisor.estimates.own import Own, Run, Score
from advisor.report.view import Line, Table, Text, View
from advisor.report.words import interval, rounded

SHOWN = 20


def view(own: Own | None, by_device: Sequence[Score], left_out: Sequence[str]) -> View:
    """The report of a calibration."""
    return View(
        title="Calibration",
        answer=tuple(_answer(own, by_device)),
        sections=tuple(_sections(own, by_device, left_out)),
        footer=(
            "Errors are factors: 1 is right. A run counts by how many widths of its interval it is "
            "off; one moves an estimate a little, many that agree nearly all the way.",
        ),
    )


def _answer(own: Own | None, by_device: Sequence[Score]) -> Iterator[str]:
    if own is None:
        yield "no runs of yours are kept: estimates are the formulas' alone"
        return
    yield f"{len(own.runs)} measured figures of your own runs in {own.file}"
    for score in by_device:
        yield f"{score.quantity} on {score.device}: estimates x {score.factor:.2f}"


def _sections(
    own: Own | None, by_device: Sequence[Score], left_out: Sequence[str]
) -> Iterator[Table | Text]:
    if by_device:
        yield Table(
            "Predicted and measured",
            ("device", "what", "runs", "inside", "median error", "if left out", "estimates x"),
            tuple(
                (
                    score.device, score.quantity, str(score.runs), str(score.inside),
                    f"{score.median:.2f}",
                    "" if score.left_out is None else f"{score.left_out:.2f}",
                    f"{score.factor:.2f}",
                )
                for score in by_device
            ),
            note="if left out: the median error of each run as the others correct it",
        )  # fmt: skip
    if own is not None:
        yield Table(
            "The last runs" if len(own.runs) > SHOWN else "Runs",
            ("run", "device", "predicted", "measured", "inside"),
            tuple(_row(run) for run in own.runs[-SHOWN:]),
        )
    if left_out:
        yield Text("Left out", tuple(Line(reason) for reason in left_out))


def _row(run: Run) -> tuple[str, ...]:
    inside = run.predicted.low <= run.measured <= run.predicted.high
    figure = f"{rounded(run.measured)} {run.unit}"
    return (
        run.what,
        run.device,
        interval(run.predicted, run.unit),
        figure,
        "yes" if inside else "no",
    )
