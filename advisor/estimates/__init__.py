"""Memory, time, money and energy of one job, in closed form: pure arithmetic on records."""

from msgspec.structs import replace

from advisor.estimates import cost, duration, hosted, requests, serving
from advisor.estimates.memory import memory
from advisor.estimates.own import Own, corrected_memory, corrected_time
from advisor.estimates.records import Estimate, Memory
from advisor.estimates.settling import settled
from advisor.job import Job
from knowledge import methods

__all__ = ["Estimate", "bill", "estimate"]


def estimate(job: Job, own: Own | None = None) -> Estimate:
    """What a job takes, each figure with its range, assumptions and sources.

    Args:
        own: runs of the user's own that correct it; what is predicted without them is what
            later runs are held against.
    Raises:
        UserError: the job contradicts itself, or names what is not known.
    """
    method = methods.find(job.method)
    if "requests" in method.phases:
        return requests.estimate(job, method, own)
    if hosted.trains(job, method):
        return hosted.estimate(job, method)
    duration.checked_gpu(job)
    w = settled(job)
    held, said = corrected_memory(own, job.gpu, memory(w))
    time, spent = corrected_time(own, job.gpu, duration.time(job, w))
    energy = cost.energy(job, time.gpu_hours)
    served = serving.month(job) if job.requests is not None and job.gpu is not None else None
    if served is None:
        money = cost.money(job, time, energy)
    else:
        worked = time if w.trains or job.examples is not None else None
        money = cost.money(job, worked, energy, served)
        time = replace(
            time, seconds_per_request=served.capacity.seconds,
            requests_per_second=served.capacity.per_second.scaled(1 / served.capacity.gpus),
        )  # fmt: skip
        energy = cost.summed(energy, served.energy, money.months)
    room = _room(job)
    notes = (*w.assumptions, *said, *spent, *_time_notes(job), *(served.notes if served else ()))
    notes += cost.assumed(job, energy)
    sources = (method.source, w.engine.source, *(line.source for line in held.lines))
    return Estimate(
        id=job.id,
        fits=None if room is None else held.card.mid <= room,
        fits_surely=None if room is None else held.card.high <= room,
        memory_gib=held, time=time, money=money, energy_kwh=energy, co2_kg=cost.co2(job, energy),
        assumptions=notes, sources=tuple(dict.fromkeys(s for s in sources if s)),
    )  # fmt: skip


def bill(job: Job) -> Memory:
    """The memory of a job, line by line.

    Raises:
        UserError: the job contradicts itself, or names what is not known.
    """
    return memory(settled(job))


def _room(job: Job) -> float | None:
    """Memory that one GPU offers [GiB]; None for a processor or no GPU."""
    if job.gpu is None or job.gpu == duration.CPU:
        return None
    return duration.card(job.gpu).memory_gib


def _time_notes(job: Job) -> tuple[str, ...]:
    notes = []
    if job.gpu is not None and job.gpu != duration.CPU:
        gpu = duration.card(job.gpu)
        if gpu.status == "remembered":
            notes.append(f"remembered, not read: memory, bandwidth and peak of {gpu.id}")
        if gpu.peak("bf16") is None:
            rate = "fp16" if gpu.peak("fp16") is not None else "fp32"
            notes.append(f"{gpu.id} computes no bf16: its {rate} rate counts")
    if job.gpu is None:
        notes.append("no gpu given: time and money are unknown")
    elif job.examples is None and job.tokens is None and job.requests is None:
        notes.append("neither examples nor tokens given: hours and money are unknown")
    if job.gpu == duration.CPU and job.cpu_cores is None:
        notes.append("2 processor cores")
    return tuple(notes)
