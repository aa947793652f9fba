"""`advisor estimate --grid` and `--against`: many estimates on one page."""

from advisor.cli.output import print_json
from advisor.estimates import breakeven, grid
from advisor.job import Job
from advisor.report import even, grids
from advisor.report.terminal import show


def show_break_even(jobs: list[Job], *, as_json: bool) -> None:
    """Print from which volume on which of the options is cheaper."""
    options = [breakeven.costs(job, name) for job, name in zip(jobs, _names(jobs), strict=True)]
    pairs = breakeven.crossings(options)
    if as_json:
        print_json({"options": options, "break_even": pairs})
        return
    show(even.view(options, pairs))


def show_grid(base: Job, *, as_json: bool) -> None:
    """Print approach by model size."""
    found = grid.grid(base)
    if as_json:
        print_json(found)
        return
    show(grids.view(found))


def _names(jobs: list[Job]) -> list[str]:
    """A short name of each option, numbered where two would be the same."""
    names: list[str] = []
    for job in jobs:
        where = f" on {job.gpu}" if job.gpu else ""
        name = f"{job.method} {job.model if isinstance(job.model, str) else 'own model'}{where}"
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names
