"""Answering requests on GPUs of one's own: how many at once, how fast, and how many GPUs a month.

Prompts are read at the speed of compute and answers written at that of memory; as many requests
share a pass as their caches fit beside the weights. Real traffic keeps a server busy for a part
of the day only.
"""

from collections.abc import Iterator
from math import ceil

from msgspec.structs import replace

from advisor.estimates import cost, states
from advisor.estimates.cost import Capacity, Served
from advisor.estimates.duration import CPU, card, pass_seconds
from advisor.estimates.settling import settled
from advisor.estimates.subject import architecture
from advisor.job import Job
from knowledge import constants, methods
from knowledge.errors import UserError
from knowledge.quantities import GIB, HOUR, HOURS_A_MONTH, Range, exactly, loosened

PROMPT, ANSWER = 500.0, 150.0
LINE = "serving: "
"""What the lines of a month of serving begin with."""
AT_ONCE = 256
"""Sequences that serving engines put into one pass unless told otherwise.

Source: https://docs.vllm.ai/en/latest/serving/engine_args.html
"""
ROOM = 0.9
"""Share of a card that a serving engine takes."""


def served(job: Job, batch: int = 1) -> Job:
    """The job of answering `batch` requests in one pass."""
    prompt = job.tokens_in if job.tokens_in is not None else PROMPT
    answer = job.tokens_out if job.tokens_out is not None else ANSWER
    if reads_only(job):
        answer = 0.0
    if (
        methods.find(job.method).trains != "nothing"
    ):  # what was trained is served merged, or in its few bits
        job = Job(
            model=job.model, gpu=job.gpu, n_gpus=job.n_gpus, cpu_cores=job.cpu_cores,
            weights_dtype=job.weights_dtype,
        )  # fmt: skip
    return replace(
        job, method="inference", seq_len=max(1, round(prompt + answer)), tokens_in=prompt,
        new_tokens=round(answer), micro_batch=batch, engine=job.engine or "vllm",
        tp=job.tp or (job.n_gpus if job.pp is None else None), examples=None, requests=None,
    )  # fmt: skip


def reads_only(job: Job) -> bool:
    """Whether the model only reads, as an encoder does: a label takes no tokens of an answer."""
    return architecture(job.model).kind == "encoder"


def capacity(job: Job) -> Capacity | None:
    """What one replica of a served model does; None where no GPU or rate is known.

    Raises:
        UserError: the model cannot be split over the GPUs, or its weights leave no room.
    """
    if job.gpu is None:
        return None
    one = served(job)
    w = settled(one)
    batch = 1
    if job.gpu != CPU:
        weights = states.weights(w, "only")
        room = ROOM * card(job.gpu).memory_gib * GIB - weights
        each = w.arch.kv_bytes(int(w.span + w.new_tokens), w.kv_bits) / w.split.tensor
        if room < each:
            raise UserError(
                f"{job.model} takes {weights / GIB:.1f} GiB of each {job.gpu} and leaves no room "
                "for one request; give more GPUs (n_gpus) or fewer bits (quant)"
            )
        batch = max(1, min(AT_ONCE, int(room / each) if each else AT_ONCE))
    full = settled(served(job, batch))
    alone, together = pass_seconds(one, w), pass_seconds(served(job, batch), full)
    if alone is None or together is None:
        return None
    busy = pass_seconds(served(job, max(1, batch // 4)), settled(served(job, max(1, batch // 4))))
    middle = busy.mid if busy is not None else together.mid
    return Capacity(
        gpus=w.split.gpus,
        batch=batch,
        seconds=Range(alone.low, max(alone.mid, middle), max(together.high, middle)),
        per_second=exactly(float(batch)).over(together),
    )


def replicas(job: Job, requests: float, one: Capacity) -> Range:
    """The replicas that a month of requests needs, at least one: it is kept even for none."""
    usual = constants.find("traffic-utilisation").range
    use = usual if job.utilisation is None else exactly(job.utilisation)
    in_month = one.per_second.times(use).scaled(HOUR * HOURS_A_MONTH)
    need = loosened(exactly(requests).over(in_month), job.tokens_off or 1.0)
    return Range(*(float(max(1, ceil(x))) for x in (need.low, need.mid, need.high)))


def month(job: Job) -> Served | None:
    """A month of the job's requests on GPUs of one's own; None where a speed is unknown.

    Raises:
        UserError: the model does not fit there.
    """
    one = capacity(job)
    if one is None or job.requests is None:
        return None
    kept = replicas(job, float(job.requests), one)
    gpu_hours = kept.scaled(one.gpus * HOURS_A_MONTH)
    energy = cost.energy(job, gpu_hours)
    bare, as_of = cost.hours(job, gpu_hours, energy)
    lines = [replace(line, name=f"{LINE}{line.name}", per="month") for line in bare]
    why = f"{_kept(kept, one.gpus)} all month; {lines[0].why}"
    return Served(
        lines=(replace(lines[0], why=why), *lines[1:]),
        energy=energy, prices_as_of=as_of, capacity=one, notes=tuple(_notes(job, one)),
    )  # fmt: skip


def _kept(replicas: Range, gpus: int) -> str:
    """The replicas in words: 1 GPU, 3 GPUs (2 to 8), 2 x 4 GPUs."""
    each = f" x {gpus} GPUs" if gpus > 1 else " GPU" if replicas.mid == 1 else " GPUs"
    between = f" ({replicas.low:g} to {replicas.high:g})" if replicas.low < replicas.high else ""
    return f"{replicas.mid:g}{each}{between}"


def _notes(job: Job, one: Capacity) -> Iterator[str]:
    if job.tokens_in is None:
        yield f"{PROMPT:g} tokens in one request"
    if job.tokens_out is None and not reads_only(job):
        yield f"{ANSWER:g} tokens in one answer"
    if job.engine is None:
        yield "served by an engine that batches, such as vllm"
    if job.utilisation is None:
        yield "traffic keeps full batches busy a quarter of the time (a tenth to a half)"
    if job.requests == 0:
        yield "requests is 0: one replica is kept all the same"
    yield f"up to {one.batch} requests share a pass"
