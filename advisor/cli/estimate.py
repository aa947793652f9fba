"""`advisor estimate`: one job by flags, or many from a file of JSON lines."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from advisor import calibration
from advisor import job as jobs
from advisor.aliases import ALIASES
from advisor.cli.output import common, notes, print_json
from advisor.estimates import estimate as estimated
from advisor.estimates.records import Estimate
from knowledge import gpus
from knowledge.errors import UserError
from knowledge.files import text_of

SHARED = ("tokens_in", "tokens_out", "months", "requests")  # with --against
HIDDEN = {"model", "id"}  # the argument, and what only a file of jobs needs


def job_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each key of a job."""
    for field in reversed(list(jobs.fields())):
        if field.name in HIDDEN:
            continue
        flag = "--" + field.name.replace("_", "-")
        names = [flag, *_short(field.name), field.name]
        if field.type is bool:
            names[0] = f"{flag}/--no-{flag[2:]}"
            command = click.option(*names, default=None, help=field.help)(command)
        else:
            kind = str if field.choices is None else click.Choice([str(c) for c in field.choices])
            metavar = None if field.choices else field.type.__name__.upper()
            command = click.option(*names, type=kind, metavar=metavar, help=field.help)(command)
    return command


def _short(name: str) -> list[str]:
    """The long names of the parallel degrees, as the contract has them."""
    return [
        "--" + alias.replace("_", "-")
        for alias, key in ALIASES.items()
        if key == name and alias.endswith("_parallel")
    ]


@click.command()
@click.argument("model", required=False)
@click.option(
    "--jobs", "file", type=click.Path(path_type=Path), help="Many jobs, one JSON object a line."
)
@click.option(
    "--against", multiple=True, metavar="'MODEL FLAGS'",
    help="Another option: from how many requests a month on is which cheaper? Repeatable.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE",
    help="Count examples and tokens in a file of yours, or a folder of documents.",
)  # fmt: skip
@click.option("--grid", is_flag=True, help="Approach x model size: GPUs, hours and USD on a page.")
@click.option("--trace", is_flag=True, help="Also run the model's own code on fake tensors.")
@click.option("--measure", is_flag=True, help="Also run two real steps with random weights here.")
@job_flags
@common
def estimate(
    model: str | None,
    file: Path | None,
    against: tuple[str, ...],
    data: Path | None,
    grid: bool,
    trace: bool,
    measure: bool,
    as_json: bool,
    quiet: bool,
    **keys: Any,
) -> None:
    """Memory, time and money of one job, as a bill of lines.

    MODEL is a catalogue id (llama-3.1-8b), a hub id, a folder or a config.json.
    """
    given = {key: value for key, value in keys.items() if value is not None}
    if file is not None:
        if model is not None or given or against or grid or data or trace or measure:
            raise UserError("--jobs takes everything from its file; drop the other flags")
        _many(file)
        return
    if grid:
        if model is not None or against or data:
            raise UserError("--grid has models of its own; drop MODEL, --data, --against")
        from advisor.cli.overviews import show_grid  # only a grid needs it

        show_grid(jobs.settled(given), as_json=as_json)
        return
    if model is None:
        raise UserError("no MODEL; give one, as in: advisor estimate llama-3.1-8b --method qlora")
    job = jobs.settled({"model": model, **given})
    counted: tuple[str, ...] = ()
    if data is not None:
        from advisor import tokens  # readers of data, only where there is some

        found = tokens.of_file(data, job.model)
        job = tokens.having(job, found)
        counted = (f"{data.name}: {found.texts:,} texts, {found.said}",)
    if against:
        from advisor.cli.overviews import show_break_even  # only a comparison needs it

        others = [_other(text, given) for text in against]
        show_break_even([job, *others], as_json=as_json)
        return
    answer, runs = _answered(job, trace=trace, measure=measure)
    if answer is not None:
        answer = replace(answer, assumptions=(*counted, *answer.assumptions))
    if as_json:
        print_json({**(msgspec.to_builtins(answer) if answer else {}), **runs} if runs else answer)
        return
    _shown(job, answer, runs)


def _answered(job: jobs.Job, *, trace: bool, measure: bool) -> tuple[Estimate | None, Any]:
    """The estimate, and what was run beside it; a family that only the trace knows has none."""
    own = calibration.own()
    if not (trace or measure):
        return estimated(job, own), {}
    from advisor import tracing  # what runs a model, only when asked to

    if not tracing.estimated(job):
        return None, tracing.runs(job, None, trace=trace, measure=measure)
    plain = estimated(job)
    found = tracing.runs(job, plain, trace=trace, measure=measure)
    if "measured" in found:
        _learn(job, plain, found["measured"])
    return estimated(job, own), found


def _learn(job: jobs.Job, plain: Estimate, seen: Any) -> None:
    """Keep what was measured for later estimates; the one shown beside it has not seen it."""
    from advisor.calibration import learning

    lesson = learning.of_measurement(job, plain, seen)
    for reason in lesson.left_out:
        notes().print(f"not kept for later estimates: {reason}", markup=False)
    if learning.keep(lesson.runs):
        notes().print("kept for later estimates: advisor calibrate", markup=False)


def _shown(job: jobs.Job, answer: Estimate | None, runs: Any) -> None:
    """Print the report: the estimate, and before its lines what was run."""
    from advisor.report.bill import view  # the page's makers, only when people look
    from advisor.report.terminal import show

    on_cpu = job.gpu == "cpu"
    if not runs and answer is not None:
        show(view(answer, _title(job), _card(job), on_cpu=on_cpu))
        return
    from advisor.report import dryrun

    if answer is None:
        show(dryrun.view(runs, _title(job)))
        return
    page = view(answer, _title(job), _card(job), on_cpu=on_cpu)
    sections = (*dryrun.sections(runs), *page.sections)
    show(replace(page, sections=sections))


def _card(job: jobs.Job) -> float | None:
    """Memory of the job's GPU [GiB]; None: it names none."""
    return gpus.find(job.gpu).memory_gib if job.gpu and job.gpu != "cpu" else None


def _other(text: str, given: dict[str, Any]) -> jobs.Job:
    """The option that a text of flags means; what is asked and for how long is shared."""
    shared = {key: given[key] for key in SHARED if key in given}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--against is {text!r}: {error}") from None
    context = estimate.make_context("--against", words)
    own = {key: value for key, value in context.params.items() if key in jobs.Job.__struct_fields__}
    if own.get("model") is None:
        raise UserError(f"--against is {text!r}; it starts with a MODEL, then flags")
    return jobs.settled({**shared, **{k: v for k, v in own.items() if v is not None}})


def _title(job: jobs.Job) -> str:
    where = f" on {job.n_gpus or 1} x {job.gpu}" if job.gpu else ""
    if job.gpu == "cpu":
        where = " on this processor"
    return f"{job.method} of {job.model}{where}"


def _many(file: Path) -> None:
    """One JSON line a job, in order; a bad one is a line with its error, and exit code 2."""
    lines = text_of(file, "file of JSON lines").splitlines()
    bad, own = 0, calibration.own()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name: Any = f"line-{number}"
        try:
            row = msgspec.json.decode(line)
            if not isinstance(row, dict):
                raise UserError(f"a job is a JSON object, not {type(row).__name__}")
            name = row.get("id", name)
            answer: Any = estimated(jobs.settled(row), own)
        except msgspec.DecodeError as error:
            answer, bad = {"id": name, "error": f"no JSON: {error}"}, bad + 1
        except UserError as error:
            answer, bad = {"id": name, "error": str(error)}, bad + 1
        click.echo(msgspec.json.encode(answer).decode())
    if bad:
        raise UserError(f"{bad} of the jobs in {file.name} could not be estimated; see their lines")
