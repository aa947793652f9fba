"""The view of what fits."""

from collections.abc import Iterator

from advisor.estimates.fitting import Fit, Most
from advisor.report.view import Table, View
from advisor.report.words import interval, rounded


def view(outcome: Fit, title: str) -> View:
    """The report of a fit."""
    verdict = "fits" if outcome.fits_surely else "fits, but only just" if outcome.fits else "no"
    if verdict == "no":
        verdict = "does not fit"
    card = interval(outcome.card, "GiB")
    return View(
        title=title,
        answer=(f"{title}: {verdict}", f"needs {card} of {rounded(outcome.room_gib)} GiB"),
        sections=tuple(_sections(outcome)),
        footer=(
            "surely: the high end of the 80 % interval fits; likely: its middle does.",
            "Each setting is moved by itself, the others stay.",
        ),
    )


def _sections(outcome: Fit) -> Iterator[Table]:
    rows = (
        ("largest micro-batch", outcome.micro_batch),
        ("longest sequence [tokens]", outcome.seq_len),
        ("fewest GPUs", outcome.n_gpus),
        ("largest model", outcome.model),
        ("cheapest card to rent", outcome.cheapest_gpu),
    )
    yield Table(
        "The most that fits",
        ("", "surely", "likely"),
        tuple((name, *_cells(most)) for name, most in rows),
    )
    if outcome.changes:
        yield Table(
            "What helps, mildest first",
            ("change", "saves GiB", "then needs GiB", "fits"),
            tuple(
                (
                    f"{change.setting} = {change.value}",
                    rounded(change.saves_gib),
                    interval(change.card),
                    "yes" if change.fits else "no",
                )
                for change in outcome.changes
            ),
        )


def _cells(most: Most) -> tuple[str, str]:
    def shown(value: object) -> str:
        if value is None:
            return "none"
        return f"{value:,}" if isinstance(value, int) else str(value)

    return shown(most.surely), shown(most.likely)
