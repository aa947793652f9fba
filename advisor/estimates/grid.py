"""Approach by model size, as people draw it on whiteboards: GPUs, hours and dollars of each.

Every cell is an ordinary estimate: on the fewest GPUs on which it surely fits, more where it
would last longer than `LONGEST`.
"""

from collections.abc import Iterator
from math import ceil

import msgspec
from msgspec.structs import replace

from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.estimates.subject import architecture
from advisor.job import Job
from knowledge import gpus, methods, prices
from knowledge.errors import UserError
from knowledge.quantities import Range

SIZES = ("llama-3.2-1b", "llama-3.1-8b", "qwen3-32b", "llama-3.1-70b")
GPU = "H100-SXM-80GB"
VENDOR, VENDOR_TUNED = "gpt-5-mini", "ft:gpt-4.1-mini-2025-04-14"
EXAMPLES, TOKENS_EACH, EPOCHS = 10_000, 400.0, 3.0
CORPUS = 1e9
OPTIMAL_TOKENS = 20.0
"""Tokens for each parameter of a model from scratch: https://arxiv.org/abs/2203.15556."""
REQUESTS = 100_000
PASSAGES = 1000.0
"""Tokens of passages that retrieval puts into one prompt."""
SEQUENCE = 2048
LONGEST = 30 * 24.0
"""Hours on the wall after which more GPUs are taken."""
NODE, MOST = 8, 32_768
COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Approach(msgspec.Struct, frozen=True):
    """A row: what it is, the method that is estimated, how much work, and if per month."""

    id: str
    method: str
    work: str
    monthly: bool = False
    hosted: str = ""
    """The method that a vendor sells it as: prompts by the token, tuning of a hosted model."""


class Cell(msgspec.Struct, frozen=True):
    """One approach with one model; None is unknown, `why` says it then."""

    approach: str
    model: str
    n_gpus: int | None
    hours: Range | None
    gpu_hours: Range | None
    usd: Range | None
    at_least: bool
    monthly: bool
    why: str = ""


class Grid(msgspec.Struct, frozen=True):
    """The rows in order, their cells by model, and what every cell assumes."""

    gpu: str
    models: tuple[str, ...]
    approaches: tuple[Approach, ...]
    cells: tuple[Cell, ...]
    assumptions: tuple[str, ...]
    prices_as_of: str | None


ROWS = (
    Approach("prompt", "inference", "requests", monthly=True, hosted="prompt"),
    Approach("rag + prompt", "inference", "retrieved", monthly=True, hosted="rag"),
    Approach("soft prompt", "soft-prompt", "examples"),
    Approach("lora", "lora", "examples", hosted="lora"),
    Approach("qlora", "qlora", "examples"),
    Approach("adapters", "adapter-sequential", "examples"),
    Approach("full fine-tuning", "full-ft", "examples"),
    Approach("dpo", "dpo", "examples", hosted="dpo"),
    Approach("continual pretraining", "cpt", "corpus"),
    Approach("from scratch", "scratch", "optimal"),
)


def grid(base: Job) -> Grid:
    """The grid of an amount of work; what the job says goes before the usual amounts.

    Raises:
        UserError: the GPU is not known, or the job names a method or a model.
    """
    gpu = gpus.find(base.gpu or GPU).id
    cells = []
    for row in ROWS:
        cells.append(_vendor(row, base))
        cells += [_own(row, model, replace(base, gpu=gpu)) for model in SIZES]
    dates = [prices.snapshot("gpu"), prices.snapshot("api")]
    return Grid(gpu, ("vendor", *SIZES), ROWS, tuple(cells), tuple(_assumed(base, gpu)), min(dates))


def _assumed(base: Job, gpu: str) -> Iterator[str]:
    examples = EXAMPLES if base.examples is None else base.examples
    each, epochs = base.tokens_per_example or TOKENS_EACH, base.epochs or EPOCHS
    requests = REQUESTS if base.requests is None else base.requests
    yield f"{requests:,} requests a month of {_in(base):g} tokens in, {_out(base):g} out"
    yield f"rag: {PASSAGES:g} tokens of passages more in each prompt; the index is not counted"
    yield f"tuning: {examples:,} examples x {each:g} tokens x {epochs:g} epochs; dpo: pairs"
    yield f"continual pretraining: {(base.tokens or CORPUS) / 1e9:g} billion tokens"
    yield f"from scratch: {OPTIMAL_TOKENS:g} tokens for each parameter"
    yield f"the fewest {gpu} on which it surely fits; more where it would take over 30 days"
    yield f"vendor: {VENDOR} for prompts, {VENDOR_TUNED} for tuning"


def _in(base: Job) -> float:
    return 500.0 if base.tokens_in is None else base.tokens_in


def _out(base: Job) -> float:
    return 150.0 if base.tokens_out is None else base.tokens_out


def _amount(row: Approach, base: Job, parameters: float) -> Job:
    """The job of a row: the base's money settings, and as much work as the row means."""
    job = replace(base, method=row.method)
    if row.monthly:
        more = PASSAGES if row.work == "retrieved" else 0.0
        requests = REQUESTS if base.requests is None else base.requests
        return replace(job, requests=requests, tokens_in=_in(base) + more, tokens_out=_out(base),
                       examples=None, tokens=None)  # fmt: skip
    job = replace(job, requests=None)
    if row.work == "examples":
        return replace(
            job, tokens=None, seq_len=base.seq_len or SEQUENCE,
            examples=EXAMPLES if base.examples is None else base.examples,
            tokens_per_example=base.tokens_per_example or TOKENS_EACH,
            epochs=base.epochs or EPOCHS, micro_batch=base.micro_batch or 1,
        )  # fmt: skip
    tokens = OPTIMAL_TOKENS * parameters if row.work == "optimal" else base.tokens or CORPUS
    return replace(job, examples=None, tokens_per_example=None, epochs=None, tokens=tokens,
                   seq_len=base.seq_len or SEQUENCE)  # fmt: skip


def _vendor(row: Approach, base: Job) -> Cell:
    if not row.hosted:
        return Cell(row.id, "vendor", None, None, None, None, False, row.monthly, "not sold")
    job = replace(_amount(row, base, 0.0), method=row.hosted, gpu=None, n_gpus=None)
    model = VENDOR if row.monthly else VENDOR_TUNED
    if row.monthly:
        job = replace(job, tokens_in=_in(base))
    answer = estimate(replace(job, model=model))
    hours = answer.time.wall_hours if answer.time is not None and not row.monthly else None
    money = answer.money
    usd = next((x.usd for x in money.lines), None) if not row.monthly else _month(answer)
    return Cell(row.id, model, None, hours, None, usd, usd is None, row.monthly)


def _month(answer: Estimate) -> Range | None:
    """The lines of a month for each request: an index's memory is not counted in the grid."""
    found = [x.usd for x in answer.money.lines if x.per == "month" and x.usd is not None]
    summed = None
    for usd in found:
        summed = usd if summed is None else summed + usd
    return summed


def _own(row: Approach, model: str, base: Job) -> Cell:
    """A cell on GPUs: the fewest that surely hold it, more if it lasted too long."""
    size = float(architecture(model).active_parameters())
    job = replace(_amount(row, base, size), model=model)
    why = "does not fit"
    for tried in _ways(job, base.n_gpus):
        try:
            answer = estimate(tried)
        except UserError as error:
            why = str(error)
            continue
        if answer.fits_surely or (row.monthly and answer.fits):
            return _cell(row, model, *_hastened(tried, answer, fixed=base.n_gpus is not None))
    return Cell(row.id, model, None, None, None, None, False, row.monthly, why)


def _ways(job: Job, said: int | None) -> Iterator[Job]:
    """The job on more and more GPUs; of one count, as it is before with all recomputed."""
    for count in (said,) if said else COUNTS:
        yield _spread(job, count)
        if job.checkpointing is None and count >= NODE:
            yield _spread(replace(job, checkpointing="full"), count)


def _spread(job: Job, count: int) -> Job:
    """The job on so many GPUs: training sharded over them, serving split by tensors."""
    if methods.find(job.method).trains == "nothing":
        return replace(job, n_gpus=count, tp=count)
    return replace(job, n_gpus=count, sharding="fsdp" if count > 1 else None)


def _hastened(job: Job, answer: Estimate, *, fixed: bool) -> tuple[int, Estimate]:
    """The GPUs with which a run ends within `LONGEST`, and its estimate there."""
    wanted = job.n_gpus or 1
    for _ in range(4):  # more GPUs are a little less efficient: ask again
        hours = answer.time.wall_hours if answer.time is not None else None
        if fixed or hours is None or hours.mid <= LONGEST:
            break
        wanted = min(MOST, NODE * ceil(wanted * hours.mid / LONGEST / NODE))
        answer = estimate(_spread(job, wanted))
    return wanted, answer


def _cell(row: Approach, model: str, count: int, answer: Estimate) -> Cell:
    time, money = answer.time, answer.money
    usd = money.monthly if row.monthly else money.once
    return Cell(
        approach=row.id, model=model, n_gpus=count,
        hours=time.wall_hours if time is not None and not row.monthly else None,
        gpu_hours=time.gpu_hours if time is not None and not row.monthly else None,
        usd=usd, at_least=money.at_least, monthly=row.monthly,
    )  # fmt: skip
