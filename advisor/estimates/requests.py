"""Hosted models and retrieval: tokens times prices, embedding time, memory of the index."""

from collections.abc import Iterator

from msgspec.structs import astuple, replace

from advisor.estimates import cost, flops
from advisor.estimates.duration import CPU, device_rate
from advisor.estimates.own import Own, corrected_memory, corrected_time
from advisor.estimates.records import Estimate, Line, Memory, MoneyLine, Time
from advisor.estimates.settling import settled
from advisor.estimates.subject import architecture
from advisor.job import Job
from knowledge import constants, prices
from knowledge.architecture import Architecture
from knowledge.errors import UserError
from knowledge.methods import Method
from knowledge.quantities import GIB, HOUR, Range, around, exactly

REQUESTS = 1000
PROMPT, ANSWER = 500.0, 150.0
PASSAGE, PASSAGES = 200.0, 5
EMBEDDER = "all-minilm-l6-v2"
OFFERS = "the model's row of 'advisor catalog prices'"
VECTOR_BYTES = 4.0
TEXT_BYTES = 4.5
"""Bytes of text for one token; kept beside the vectors so that answers can cite it."""
GUESSED = 1.3
"""How far a token count may be off that was not counted but assumed."""


def estimate(job: Job, method: Method, own: Own | None = None) -> Estimate:
    """What answering requests with a hosted model takes, with retrieval if the method has it."""
    notes: list[str] = []
    memory, time, energy = None, None, None
    further: list[MoneyLine] = []
    if "index" in method.phases:
        each = _said(job.passage_tokens, PASSAGE, "tokens in one passage", notes)
        count = _said(job.passages, PASSAGES, "passages in one prompt", notes)
        longer = answered(job, notes, each * count)
        plain = answered(job, [])
        lines = [plain, _longer(plain, longer, each * count)]
        memory, time, line, energy = _index(job, each, notes, own)
        further = [line]
        if job.gpu != CPU:  # the user's own machine is there anyway
            further += [_retrieval(job), *_kept(memory)]
    else:
        lines = [answered(job, notes)]
    lines += [*further, *cost.people(job)]
    return Estimate(
        id=job.id, fits=None, memory_gib=memory, time=time,
        money=cost.bill(lines, _dated(job), job.months), energy_kwh=energy,
        co2_kg=cost.co2(_on_cpu(job), energy),
        assumptions=tuple(notes), sources=(method.source,),
    )  # fmt: skip


def answered(job: Job, notes: list[str], retrieved: float = 0.0) -> MoneyLine:
    """A month of requests at the model's price per token.

    Args:
        notes: what is assumed is added here.
        retrieved: tokens of passages that lengthen each prompt.
    """
    requests = _said(job.requests, REQUESTS, "requests", notes)
    prompt = _said(job.tokens_in, PROMPT, "tokens in one request", notes) + retrieved
    answer = _said(job.tokens_out, ANSWER, "tokens in one answer", notes)
    if requests == 0:
        notes.append("requests is 0: nothing is asked, so requests cost nothing")
    usd = _answers(job, requests, prompt, answer, notes)
    guessed = job.tokens_in is None or job.tokens_out is None
    spread = None if usd is None else around(usd, GUESSED) if guessed else exactly(usd)
    why = f"{requests:g} requests x ({prompt:g} tokens in, {answer:g} out)"
    return MoneyLine("model requests", spread, why, OFFERS, "month")


def _longer(plain: MoneyLine, longer: MoneyLine, tokens: float) -> MoneyLine:
    """What the retrieved passages in the prompts cost."""
    usd = None
    if plain.usd is not None and longer.usd is not None:
        usd = Range(*(b - a for a, b in zip(astuple(plain.usd), astuple(longer.usd), strict=True)))
    why = f"{tokens:g} tokens of passages in each prompt"
    return MoneyLine("longer prompts", usd, why, OFFERS, "month")


def _retrieval(job: Job) -> MoneyLine:
    """Embedding a month's questions on rented cores; the search itself is small beside it."""
    arch = architecture(job.embedder or EMBEDDER)
    prompt = _said(job.tokens_in, PROMPT, "tokens in one request", [])
    requests = _said(job.requests, REQUESTS, "requests", [])
    operations = requests * prompt * flops.blocks(arch, prompt)
    hours = exactly(operations / HOUR).over(constants.find("cpu-flops-fp32").range)
    core = constants.find("core-usd-per-hour")
    why = f"{requests:g} questions embedded in {hours.mid:.2g} core-hours x {core.mid:g} USD"
    return MoneyLine("retrieval", hours.times(core.range), why, core.source, "month")


def _kept(memory: Memory | None) -> Iterator[MoneyLine]:
    """Index in memory and texts on disk, a month."""
    if memory is None:
        return
    rates = constants.find("memory-usd-per-gib"), constants.find("storage-usd-per-gib")
    for name, rate in zip(("index in memory", "index on disk"), rates, strict=True):
        why = f"{memory.card.mid:.2g} GiB x {rate.mid:g} {rate.unit}"
        yield MoneyLine(name, memory.card.times(rate.range), why, rate.source, "month")


def _dated(job: Job) -> str:
    """The date of the model's price; of the table where it has none of its own."""
    try:
        row = prices.find_api(job.model) if isinstance(job.model, str) else None
    except UserError:
        row = None
    return row.date.isoformat() if row is not None and row.date else prices.snapshot("api")


def _said(value: float | None, usual: float, what: str, notes: list[str]) -> float:
    if value is None:
        notes.append(f"{usual:g} {what}")
        return usual
    return float(value)


def _answers(
    job: Job, requests: float, prompt: float, answer: float, notes: list[str]
) -> float | None:
    """Price of all requests [USD]; None where the model's price is not known."""
    if job.model is None or isinstance(job.model, dict):
        notes.append("no hosted model named: the price of requests is unknown")
        return None
    try:
        price = prices.find_api(job.model)
    except UserError:
        architecture(job.model)  # an unknown name is an error, an open model has no price here
        notes.append(f"no price per token of {job.model} is known; estimate it as inference")
        return None
    cached = prompt * (job.cached_share or 0.0)
    one = price.usd(prompt, answer, cached, batch=bool(job.batch_api))
    return None if one is None else one * requests


def _index(
    job: Job, passage: float, notes: list[str], own: Own | None
) -> tuple[Memory | None, Time | None, MoneyLine, Range | None]:
    """Memory of the index and time to embed the corpus."""
    if job.corpus_tokens is None:
        notes.append("no corpus_tokens given: index memory and embedding time are unknown")
        return None, None, MoneyLine("embedding", None, "the corpus is not measured"), None
    name = job.embedder or EMBEDDER
    if job.embedder is None:
        notes.append(f"passages embedded with {EMBEDDER} on the user's processor")
    arch = architecture(name)
    passages = job.corpus_tokens / passage
    vectors = passages * arch.hidden * VECTOR_BYTES
    texts = job.corpus_tokens * TEXT_BYTES
    weights = 4.0 * arch.parameters()
    lines = (
        Line("index", vectors / GIB, f"{passages:.0f} passages x {arch.hidden} x 4 B"),
        Line("texts", texts / GIB, f"{job.corpus_tokens:g} tokens x {TEXT_BYTES:g} B"),
        Line("embedder", weights / GIB, f"{arch.parameters() / 1e6:.1f}e6 parameters x 4 B"),
    )
    size = around((vectors + texts + weights) / GIB, 1.25)
    process = constants.find("process-gib").range
    memory = Memory(size, size, size + process, lines, "index", size.mid)
    time = _embedding(job, arch, passage)
    device = _on_cpu(job).gpu
    memory, held = corrected_memory(own, device, memory)
    time, spent = corrected_time(own, device, time)
    notes += (*held, *spent)
    where = replace(_on_cpu(job), labels=None, people_hours=None)
    energy = cost.energy(where, time.gpu_hours)
    price = cost.money(where, time, energy)
    why = f"{job.corpus_tokens:g} tokens embedded in {time.gpu_hours.mid:.3g} hours" if (
        time.gpu_hours
    ) else "unknown"  # fmt: skip
    return memory, time, MoneyLine("embedding", price.usd, why), energy


def _on_cpu(job: Job) -> Job:
    return job if job.gpu is not None else replace(job, gpu=CPU)


def _embedding(job: Job, arch: Architecture, passage: float) -> Time:
    """Time to embed the corpus once."""
    where = _on_cpu(job)
    served = replace(
        where, model=job.embedder or EMBEDDER, method="inference", seq_len=int(passage),
        new_tokens=0, n_gpus=1,
    )  # fmt: skip
    rate = device_rate(where, settled(served))
    if rate is None or job.corpus_tokens is None:
        return Time(None, None, None)
    share = Range(0.7, 1.0, 1.3) if where.gpu == CPU else Range(0.1, 0.3, 0.5)
    speed = rate.times(share).scaled(1 / flops.blocks(arch, passage))
    hours = exactly(job.corpus_tokens / HOUR).over(speed)
    return Time(hours, hours, speed)
