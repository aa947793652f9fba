"""How long: operations over the rate that a device really reaches, and decoding by bandwidth."""

from functools import cache
from math import log10
from typing import NamedTuple

from msgspec.structs import astuple

from advisor.estimates import flops, states
from advisor.estimates.arithmetic import larger
from advisor.estimates.records import Time
from advisor.estimates.workload import Workload
from advisor.job import Job
from knowledge import constants, gpus
from knowledge.errors import UserError
from knowledge.quantities import HOUR, Range, exactly

CPU = "cpu"
card = cache(gpus.find)
REFERENCE_INTENSITY = 156.0
"""Operations per byte of memory traffic of an A100: 312e12 FLOP/s over 2.0e12 B/s."""
NODE = 8
LONG_RUN = 1000.0
"""GPU-hours from which restarts and evaluation are counted."""


class Work(NamedTuple):
    """How much there is to do: tokens read (padding left out), and sequences."""

    tokens: float | None
    examples: float | None


def work(job: Job, w: Workload) -> Work:
    """Tokens and examples of a job; None where they were not said."""
    if job.tokens is not None:
        return Work(job.tokens, None)
    if job.examples is None:
        return Work(None, None)
    each = job.tokens_per_example or w.span
    rounds = job.epochs if job.epochs is not None else (3.0 if w.trains else 1.0)
    generated = w.sequences / (job.micro_batch or 1) / w.method.sequences
    sequences = job.examples * rounds * w.method.sequences * generated
    return Work(sequences * each, job.examples * rounds)


def time(job: Job, w: Workload) -> Time:
    """GPU-hours, hours on the wall and tokens per second per GPU; None where no GPU is named.

    Off by: see `advisor validate runs` and `advisor validate throughput`.
    """
    if job.gpu is None:
        return Time(None, None, None)
    speed = training_speed(job, w) if w.trains else serving_speed(job, w)
    if speed is None:
        return Time(None, None, None)
    tokens = work(job, w).tokens
    if not w.trains:
        tokens = None if job.examples is None else job.examples * (w.new_tokens or w.span)
    if tokens is None:
        return Time(None, None, speed)
    hours = exactly(tokens / HOUR).over(speed)
    if w.trains:
        hours = hours + _generation_hours(job, w, tokens)
        if hours.mid > LONG_RUN:
            hours = hours.over(constants.find("goodput").range)
    return Time(hours, hours.scaled(1 / w.split.gpus), speed)


def training_speed(job: Job, w: Workload) -> Range | None:
    """Tokens per second and GPU of a training step."""
    rate = device_rate(job, w)
    if rate is None:
        return None
    share = efficiency(job, w)
    per_token = flops.training(w)
    speed = rate.times(share).scaled(1 / per_token)
    if _padded(job, w):
        speed = speed.scaled(min(1.0, (job.tokens_per_example or w.span) / w.span))
    return speed


def efficiency(job: Job, w: Workload) -> Range:
    """Share of the peak that a training step reaches."""
    if job.gpu == CPU:
        return exactly(1.0)
    find = constants.find
    share = find("training-efficiency").range
    narrow = find("narrow-width").mid
    share = share.scaled(w.arch.hidden / (w.arch.hidden + narrow))
    gpu = card(job.gpu or "")
    peak = gpu.peak("bf16") or gpu.peak("fp16")
    if peak is not None:
        intensity = peak / gpu.bandwidth / REFERENCE_INTENSITY
        share = share.scaled(intensity ** -find("intensity-exponent").mid)
        if job.micro_batch is not None:
            # Weights are read once a pass: as many tokens balance that as the GPU has
            # operations for each byte.
            share = share.scaled(w.batch_tokens / (w.batch_tokens + peak / gpu.bandwidth))
    slower = flops.attention_share(w) * (find("attention-cost").mid - 1)
    share = share.scaled(1 / (1 + slower))
    if w.arch.experts is not None:
        share = share.times(find("experts-speed").range)
    if w.numbers.quantisation is not None:
        share = share.times(find("quantised-speed").range)
    return share.scaled(find("cluster-efficiency").mid ** _tens(w.split.gpus))


def _tens(cards: int) -> float:
    """Powers of ten beyond one node."""
    return log10(max(1.0, cards / NODE))


def _padded(job: Job, w: Workload) -> bool:
    return job.packing is False and job.tokens_per_example is not None and w.trains


def device_rate(job: Job, w: Workload) -> Range | None:
    """Peak of one device in the job's number format [FLOP/s]; of a CPU what it reaches."""
    half = w.numbers.compute < 4
    if job.gpu == CPU:
        name = "cpu-flops-bf16" if half else "cpu-flops-fp32"
        return constants.find(name).range.scaled(float(job.cpu_cores or 2))
    gpu = card(job.gpu or "")
    names = ("bf16", "fp16") if half else ("tf32", "fp32")
    peak = next((p for p in map(gpu.peak, names) if p is not None), None)
    return None if peak is None else exactly(peak)


def serving_speed(job: Job, w: Workload) -> Range | None:
    """Tokens per second and GPU that a batch writes, or reads where it writes none."""
    seconds = pass_seconds(job, w)
    if seconds is None:
        return None
    tokens = w.sequences * (w.new_tokens or w.span)
    return exactly(tokens / w.split.gpus).over(seconds)


def pass_seconds(job: Job, w: Workload) -> Range | None:
    """Seconds to read one batch of prompts and write its answers."""
    rate = device_rate(job, w)
    if rate is None:
        return None
    prompt = w.sequences * w.span * flops.blocks(w.arch, w.span)
    if job.gpu == CPU:
        prefill = exactly(prompt).over(rate)
    else:
        prefill = exactly(prompt).over(rate.times(constants.find("prefill-efficiency").range))
    prefill = prefill.scaled(1 / w.split.gpus)
    return prefill + decode_seconds(job, w) if w.new_tokens else prefill


def decode_seconds(job: Job, w: Workload) -> Range:
    """Seconds to write the answers of one batch: every token reads the weights and the cache."""
    if job.gpu == CPU:
        return exactly(w.new_tokens * states.weights(w, "only") / 1e9).times(Range(0.03, 0.08, 0.2))
    gpu = card(job.gpu or "")
    share = constants.find("decode-bandwidth").range
    active = w.arch.active_parameters() / w.arch.parameters()
    touched = min(1.0, active * (1 + 0.5 * (w.sequences - 1)))
    weights = states.weights(w, "only") * touched
    if w.numbers.quantisation is not None and w.engine.dequantises:
        # Unpacked to 16 bits first: written once, read once.
        weights += 4.0 * w.counts.linears * touched / w.split.gpus
    cache = w.sequences * w.arch.kv_bytes(int(w.span + w.new_tokens / 2), w.kv_bits)
    traffic = w.new_tokens * (weights + cache / w.split.tensor)
    compute = w.new_tokens * w.sequences * flops.forward(w.arch, w.span, w.outputs)
    rate = device_rate(job, w)
    floor = compute / w.split.gpus / rate.mid / 0.5 if rate is not None else 0.0
    seconds = exactly(traffic / gpu.bandwidth).over(share)
    if w.engine.decode_efficiency == "eager":
        launches = w.new_tokens * w.layers
        launch = constants.find("eager-block-seconds").range.scaled(launches)
        # Launching hides behind the memory traffic or the other way round.
        seconds = Range(*map(larger, astuple(seconds), astuple(launch)))
    return Range(seconds.low + floor, seconds.mid + floor, seconds.high + floor)


def _generation_hours(job: Job, w: Workload, tokens: float) -> Range:
    """GPU-hours of writing the answers that are learnt from."""
    if "generation" not in w.method.phases or not w.new_tokens or job.gpu is None:
        return exactly(0.0)
    batches = tokens / w.span / w.sequences
    return decode_seconds(job, w).scaled(batches / HOUR)


def checked_gpu(job: Job) -> None:
    """Refuse a GPU that is not known.

    Raises:
        UserError: no such GPU; the nearest are named.
    """
    if job.gpu is not None and job.gpu != CPU:
        card(job.gpu)
    elif job.gpu == CPU and (job.n_gpus or 1) > 1:
        raise UserError(f"n_gpus is {job.n_gpus} on a cpu; it must be 1")
