"""`advisor fit`."""

from typing import Any

import click

from advisor import job as jobs
from advisor.cli.estimate import job_flags
from advisor.cli.output import common, print_json
from advisor.estimates.fitting import fit as fitted
from knowledge.errors import UserError


@click.command()
@click.argument("model", required=False)
@job_flags
@common
def fit(model: str | None, as_json: bool, quiet: bool, **keys: Any) -> None:
    """What is the most that fits on a GPU, and what to change first if nothing does.

    Each setting is moved by itself: the largest batch, the longest sequence, the fewest GPUs, the
    largest model, the cheapest card.
    """
    if model is None:
        raise UserError("no MODEL; give one, as in: advisor fit llama-3.1-8b --gpu rtx-4090")
    given = {key: value for key, value in keys.items() if value is not None}
    job = jobs.settled({"model": model, **given})
    outcome = fitted(job)
    if as_json:
        print_json(outcome)
        return
    from advisor.report.fits import view  # the page's makers, only when people look
    from advisor.report.terminal import show

    show(view(outcome, f"{job.method} of {job.model} on {outcome.gpu}"))
