"""How long: operations over the rate that a device really reaches, and decoding by bandwidth."""

from functools import cache
from typing import NamedTuple

from msgspec.structs import astuple

from advisor.estimates import flops, padding, states
from advisor.estimates.arithmetic import larger
from advisor.estimates.efficiency import progress, range_of_share
from advisor.estimates.records import Time
from advisor.estimates.workload import Workload
from advisor.job import Job
from knowledge import constants, gpus
from knowledge.errors import UserError
from knowledge.quantities import HOUR, Range, exactly, loosened

CPU = "cpu"
card = cache(gpus.find)


KERNELS_APART = ("nf4", "nf4-dq", "fp4", "fp4-dq")
"""Formats that eager code unpacks with kernels of their own."""


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
    one = None if w.trains else pass_seconds(job, w)
    if tokens is None:
        return Time(None, None, speed, one)
    hours = exactly(tokens / HOUR).over(speed)
    if w.trains:
        hours = hours + _generation_hours(job, w, tokens)
        hours = hours.scaled(1 / progress(hours.mid, constants.find("goodput").mid))
    hours = loosened(hours, job.tokens_off or 1.0)
    return Time(hours, hours.scaled(1 / w.split.gpus), speed, one)


def training_speed(job: Job, w: Workload) -> Range | None:
    """Tokens per second and GPU of a training step."""
    rate = device_rate(job, w)
    if rate is None:
        return None
    if job.gpu != CPU:
        rate = rate.times(range_of_share(job, w, card(job.gpu or "")))
    speed = rate.scaled(1 / flops.training(w))
    return speed if job.gpu == CPU else speed.times(padding.useful(job, w))


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


def _serving_rate(job: Job, w: Workload) -> Range | None:
    """Peak with which prompts are read [FLOP/s]: that of FP8 for weights and inputs in FP8."""
    eighth = None if job.gpu in (None, CPU) or job.quant != "fp8" else card(job.gpu).peak("fp8")
    return device_rate(job, w) if eighth is None else exactly(eighth)


def serving_speed(job: Job, w: Workload) -> Range | None:
    """Tokens per second and GPU that a batch writes, or reads where it writes none."""
    seconds = pass_seconds(job, w)
    if seconds is None:
        return None
    tokens = w.sequences * (w.new_tokens or w.span)
    return exactly(tokens / w.split.gpus).over(seconds)


def pass_seconds(job: Job, w: Workload) -> Range | None:
    """Seconds to read one batch of prompts and write its answers."""
    rate = _serving_rate(job, w)
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
    # Ranks of tensor parallelism read their parts at once; dealt-out blocks take turns.
    # Each part of a batch that fills the stages reads them anew, so that saves no reading.
    turns = w.split.pipeline * (w.split.weights if not w.trains else 1.0)
    active = w.arch.active_parameters() / w.arch.parameters()
    touched = min(1.0, active * (1 + 0.5 * (w.sequences - 1)))
    weights = states.weights(w, "only") * touched
    unpacks = w.numbers.quantisation is not None and w.engine.dequantises
    if unpacks and w.sequences > 1:
        # Unpacked to 16 bits first: written once, read once. A single sequence needs no matrix
        # product, and its kernels unpack as they go.
        weights += 4.0 * w.counts.linears * touched / w.split.gpus
    cache = w.sequences * w.arch.kv_bytes(int(w.span + w.new_tokens / 2), w.kv_bits)
    traffic = w.new_tokens * (weights * turns + cache / w.split.tensor)
    compute = w.new_tokens * w.sequences * flops.forward(w.arch, w.span, w.outputs)
    rate = _serving_rate(job, w)
    floor = compute / w.split.gpus / rate.mid / 0.5 if rate is not None else 0.0
    seconds = exactly(traffic / gpu.bandwidth).over(constants.find("decode-bandwidth").range)
    launches = w.new_tokens * w.layers
    if w.engine.decode_efficiency == "eager":
        launch = constants.find("eager-block-seconds").range.scaled(launches)
        if job.quant in KERNELS_APART:
            launch = launch.scaled(constants.find("quantised-launch").mid)
        # Launching hides behind the memory traffic or the other way round.
        seconds = Range(*map(larger, astuple(seconds), astuple(launch)))
    if w.split.tensor > 1:
        seconds = seconds + constants.find("tensor-block-seconds").range.scaled(launches)
    return seconds + exactly(floor)


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
