"""The view of compute-optimal sizes."""

from advisor.estimates.records import Estimate
from advisor.estimates.subject import architecture
from advisor.job import Job
from advisor.report.view import Line, Table, Text, View
from advisor.report.words import dated, interval, rounded, usd
from advisor.sizing import Size, Sizing, tokens_for

LAW = "https://arxiv.org/abs/2203.15556, constants of https://arxiv.org/abs/2404.10102"


def view(outcome: Sizing) -> View:
    """The report of a best size."""
    best = outcome.best
    return View(
        title="Compute-optimal size",
        answer=(
            f"{count(best.parameters)} parameters on {count(best.tokens)} tokens: best for "
            f"{rounded(outcome.gpu_hours)} GPU-hours on {outcome.n_gpus} x {outcome.gpu}",
            _spent(outcome.estimate),
            *_served(outcome),
        ),
        sections=(
            Table(
                "Sizes beside it, for the same budget",
                ("parameters", "tokens", "tokens per parameter", "loss expected", "to the best"),
                tuple(_row(size, best) for size in outcome.beside),
            ),
            Text("Mind", tuple(Line(said) for said in outcome.assumptions)),
        ),
        footer=(f"{dated(outcome.estimate.money.prices_as_of)} Law: {LAW}",),
    )


def tokens_view(job: Job, answer: Estimate) -> View:
    """The report of a model's tokens."""
    parameters = architecture(job.model).active_parameters()
    tokens = tokens_for(parameters)
    return View(
        title="Compute-optimal tokens",
        answer=(
            f"{job.model}: {count(tokens)} tokens, {tokens / parameters:.0f} for each of its "
            f"{count(parameters)} parameters",
            _spent(answer),
        ),
        sections=(),
        footer=(f"{dated(answer.money.prices_as_of)} Law: {LAW}",),
    )


def count(value: float) -> str:
    """A count as people say it: 1.3 B, 26 B, 1.4 T."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}"


def _served(outcome: Sizing) -> tuple[str, ...]:
    """The smaller model for much use, in a sentence."""
    if outcome.served is None:
        return ()
    small = outcome.served
    return (
        f"to serve that many tokens: {count(small.parameters)} parameters on "
        f"{count(small.tokens)} tokens ({small.tokens_per_parameter:.0f} for each) reach the same "
        "loss with the least compute, use included (https://arxiv.org/abs/2401.00448)",
    )


def _spent(answer: Estimate) -> str:
    hours = answer.time.gpu_hours if answer.time is not None else None
    fits = {True: "fits", False: "does not fit: more GPUs, or shards", None: "fit unknown"}
    money = usd(answer.money.usd, at_least=answer.money.at_least)
    return f"GPU-hours {interval(hours)}, cost {money}; {fits[answer.fits]}"


def _row(size: Size, best: Size) -> tuple[str, ...]:
    figures = (count(size.parameters), count(size.tokens), rounded(size.tokens_per_parameter))
    return (*figures, f"{size.loss:.3f}", f"{size.loss - best.loss:+.3f}")
