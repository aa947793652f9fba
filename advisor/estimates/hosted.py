"""Training at a vendor: tokens times its price, then requests at the tuned model's price."""

from advisor.estimates import cost
from advisor.estimates.records import Estimate, MoneyLine, Time
from advisor.estimates.requests import GUESSED, answered
from advisor.job import Job
from knowledge import constants, models, prices
from knowledge.errors import UserError
from knowledge.methods import Method
from knowledge.prices import ApiPrice
from knowledge.quantities import HOUR, around, exactly

EXAMPLE, EPOCHS = 400.0, 3.0


def trains(job: Job, method: Method) -> bool:
    """Whether the job means training at a vendor: a model that a vendor trains, and no GPU."""
    if "training" not in method.phases or not isinstance(job.model, str) or job.gpu is not None:
        return False
    if job.model in models.table():
        return False
    return _sold(job.model) is not None


def _sold(name: str) -> ApiPrice | None:
    prices.own()  # a fault in the user's own file is no unknown model
    try:
        row = prices.find_api(name)
    except UserError:
        return None
    return row if row.train is not None or row.train_per_hour is not None else None


def estimate(job: Job, method: Method) -> Estimate:
    """What a vendor charges for the training and, if requests are given, for a month of them."""
    row = prices.find_api(str(job.model))
    notes: list[str] = []
    each = job.tokens_per_example
    if each is None and job.tokens is None:
        each = EXAMPLE
        notes.append(f"{EXAMPLE:g} tokens in one example")
    epochs = job.epochs
    if epochs is None and job.tokens is None:
        epochs = EPOCHS
        notes.append(f"{EPOCHS:g} epochs")
    tokens = job.tokens
    if tokens is None and job.examples is not None:
        tokens = job.examples * (each or EXAMPLE) * (epochs or EPOCHS) * method.sequences
    if row.train_status == "remembered":
        notes.append(f"remembered, not read: the price of training {row.id}")
    lines = [
        _training(
            row,
            tokens,
            off=(job.tokens_off or 1.0) if job.tokens or job.tokens_per_example else GUESSED,
        )
    ]
    if job.requests is not None:
        lines.append(answered(job, notes))
    lines += cost.people(job)
    return Estimate(
        id=job.id, fits=None, memory_gib=None, time=waiting(tokens),
        money=cost.bill(lines, row.date.isoformat() if row.date else None, job.months),
        energy_kwh=None, assumptions=tuple(notes), sources=(method.source, row.source),
    )  # fmt: skip


def _training(row: ApiPrice, tokens: float | None, *, off: float) -> MoneyLine:
    name = "hosted training"
    if row.train is None:
        return MoneyLine(name, None, "billed by the hour of training, which is not known")
    if tokens is None:
        return MoneyLine(name, None, "neither examples nor tokens given", row.source)
    if row.date is None:
        return MoneyLine(name, None, "its price has no date: not used", row.source)
    usd = tokens * row.train / 1e6
    why = f"{tokens:,.0f} trained tokens x {row.train:g} USD per million"
    return MoneyLine(name, around(usd, off), why, row.source)


def waiting(tokens: float | None) -> Time | None:
    """Hours until the tuned model is there; vendors promise none, so the interval is wide."""
    if tokens is None:
        return None
    speed = constants.find("hosted-tuning-tokens").range
    waiting = constants.find("hosted-tuning-hours").range
    return Time(None, waiting + exactly(tokens / HOUR).over(speed), None)
