"""`advisor calibrate`."""

from pathlib import Path

import click

from advisor import calibration
from advisor.calibration import learning
from advisor.cli.output import common, print_json
from advisor.estimates.own import scores
from advisor.report.calibrations import view
from advisor.report.terminal import show
from knowledge.errors import UserError


@click.command()
@click.argument(
    "run_dirs", metavar="[RUN_DIR]...", nargs=-1, type=click.Path(path_type=Path), required=False
)
@click.option("--reset", is_flag=True, help="Forget all runs: estimates are the formulas' again.")
@common
def calibrate(run_dirs: tuple[Path, ...], reset: bool, as_json: bool, quiet: bool) -> None:
    """Predicted against measured in your own runs; later estimates are corrected by them.

    `advisor run` and `advisor estimate --measure` add to the same file by themselves. Without
    RUN_DIR it shows what was learnt.
    """
    if reset:
        if run_dirs:
            raise UserError("--reset forgets all runs; drop RUN_DIR, add them afterwards")
        forgotten = learning.forget()
        if as_json:
            print_json({"file": str(calibration.place()), "forgotten": forgotten})
        else:
            click.echo(f"{forgotten} measured figures forgotten: {calibration.place()}")
        return
    left: list[str] = []
    if run_dirs:
        if calibration.place() is None:
            raise UserError(f"{calibration.VARIABLE} is off, so nothing is kept; unset it")
        found = [learning.of_folder(folder) for folder in run_dirs]
        learning.keep(run for lesson in found for run in lesson.runs)
        left = [reason for lesson in found for reason in lesson.left_out]
    own = calibration.own()
    runs = own.runs if own is not None else ()
    by_device = tuple(scores(runs))
    if as_json:
        file = calibration.place()
        print_json(
            {"file": str(file) if file else None, "scores": by_device, "runs": runs,
             "left_out": left}
        )  # fmt: skip
        return
    show(view(own, by_device, left))
