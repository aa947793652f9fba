"""`advisor size`: the compute-optimal size and tokens of a model trained from scratch."""

from typing import Any

import click

from advisor import job as jobs
from advisor import sizing
from advisor.cli.output import common, print_json
from knowledge.errors import UserError

PRESETS = {"gpu-day": {"hours": 24.0, "n_gpus": 1}}


@click.command()
@click.argument("model", required=False)
@click.option("--usd", type=float, help="Money to spend on GPUs [USD].")
@click.option("--hours", type=float, help="Hours on the wall, with --n-gpus.")
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="gpu-day: one GPU for a day.")
@click.option("--gpu", help=f"GPU; {sizing.GPU} unless named.")
@click.option("--n-gpus", type=int, help="GPUs in all.")
@click.option("--seq-len", type=int, help="Tokens of one sequence.")
@click.option("--served", type=float, help="Tokens the model will read and write in its life.")
@click.option("--spot/--no-spot", default=None, help="Rent at spot prices.")
@common
def size(
    model: str | None,
    usd: float | None,
    hours: float | None,
    preset: str | None,
    served: float | None,
    as_json: bool,
    quiet: bool,
    **keys: Any,
) -> None:
    """The best model size and number of tokens for a budget; for a MODEL, its tokens.

    Chinchilla's law of loss, with what a token costs on the GPU at hand.
    """
    given = {key: value for key, value in keys.items() if value is not None}
    from advisor.report import sizes  # the page's makers, only when people look
    from advisor.report.terminal import show

    if model is not None:
        if usd is not None or hours is not None or preset is not None:
            raise UserError("a MODEL gives the tokens, a budget the size; give one of them")
        job = jobs.settled({"model": model, "method": "scratch", "gpu": sizing.GPU, **given})
        answer = sizing.for_model(job)
        if as_json:
            print_json(answer)
            return
        show(sizes.tokens_view(job, answer))
        return
    if preset is not None:
        if usd is not None or hours is not None or "n_gpus" in given:
            raise UserError(f"--preset {preset} says hours and GPUs itself; drop the other flags")
        hours, given["n_gpus"] = PRESETS[preset]["hours"], int(PRESETS[preset]["n_gpus"])
    job = jobs.settled({"method": "scratch", **given})
    outcome = sizing.for_budget(job, usd=usd, hours=hours, served=served)
    if as_json:
        print_json(outcome)
        return
    show(sizes.view(outcome))
