"""Hosted models and retrieval: tokens times prices, embedding time, memory of the index."""

from collections.abc import Iterator

from msgspec.structs import astuple, replace

from advisor.estimates import cost, flops, serving
from advisor.estimates.duration import CPU, card, device_rate
from advisor.estimates.memory import memory as memory_of
from advisor.estimates.own import Own, corrected_memory, corrected_time
from advisor.estimates.records import Estimate, Line, Memory, MoneyLine, Time
from advisor.estimates.settling import settled
from advisor.estimates.subject import architecture
from advisor.job import Job
from knowledge import constants, methods, prices
from knowledge.architecture import Architecture
from knowledge.errors import UserError
from knowledge.methods import Method
from knowledge.quantities import GIB, HOUR, Range, around, exactly, loosened

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
    prices.own()  # a fault in the user's own file is no unknown model
    if hosts(job):
        return _self_hosted(job, method, own)
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


def hosts(job: Job) -> bool:
    """Whether the job's own GPUs answer: it names some, and an open model without a price."""
    if job.gpu in (None, CPU) or job.model is None:
        return False
    if isinstance(job.model, str):
        try:
            prices.find_api(job.model)
        except UserError:
            pass
        else:
            return False
    return architecture(job.model).kind != "encoder"


def asked(job: Job, notes: list[str]) -> Job:
    """The job with what one request is: its prompt with the passages that retrieval puts in."""
    prompt = _said(job.tokens_in, PROMPT, "tokens in one request", notes)
    if "index" in methods.find(job.method).phases:
        each = _said(job.passage_tokens, PASSAGE, "tokens in one passage", notes)
        prompt += each * _said(job.passages, PASSAGES, "passages in one prompt", notes)
    return replace(
        job, tokens_in=prompt,
        tokens_out=_said(job.tokens_out, ANSWER, "tokens in one answer", notes),
        requests=int(_said(job.requests, REQUESTS, "requests", notes)),
    )  # fmt: skip


def _self_hosted(job: Job, method: Method, own: Own | None) -> Estimate:
    """What answering requests on GPUs of one's own takes, rented or owned, all month."""
    notes: list[str] = []
    served = asked(job, notes)
    month = serving.month(served)
    held, said = corrected_memory(own, job.gpu, memory_of(settled(serving.served(served))))
    lines, energy, time = list(month.lines if month else ()), None, Time(None, None, None)
    if "index" in method.phases:
        host = replace(job, gpu=None)
        each = job.passage_tokens or PASSAGE
        index, spent, line, energy = _index(host, each, notes, own)
        lines += [line, _retrieval(job), *_kept(index)]
        time = spent or time
    if month is None:
        notes.append(f"the speed of {job.gpu} is not known, so neither is the price of serving")
        lines.append(MoneyLine("serving", None, f"no speed of {job.gpu} is known"))
    else:
        one = month.capacity
        time = replace(time, seconds_per_request=one.seconds,
                       requests_per_second=one.per_second.scaled(1 / one.gpus))  # fmt: skip
        energy = cost.summed(energy, month.energy, job.months or 1.0)
    room = card(job.gpu or "").memory_gib
    where = month.prices_as_of if month else None
    return Estimate(
        id=job.id, fits=held.card.mid <= room, fits_surely=held.card.high <= room,
        memory_gib=held, time=time,
        money=cost.bill([*lines, *cost.people(job)], where, job.months),
        energy_kwh=energy, co2_kg=cost.co2(job, energy),
        assumptions=(*notes, *said, *(month.notes if month else ()), *cost.assumed(job, energy)),
        sources=(method.source,),
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
    spread = None
    if usd is not None:
        read = GUESSED if job.tokens_in is None else job.tokens_off or 1.0
        written = GUESSED if job.tokens_out is None else 1.0
        ends = ((1 / read, 1 / written), (1.0, 1.0), (read, written))
        each = (_answers(job, requests, x * prompt, y * answer, []) or 0.0 for x, y in ends)
        spread = Range(*each)
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
    size = loosened(around((vectors + texts + weights) / GIB, 1.25), job.tokens_off or 1.0)
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
    hours = loosened(exactly(job.corpus_tokens / HOUR).over(speed), job.tokens_off or 1.0)
    return Time(hours, hours, speed)
