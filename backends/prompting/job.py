"""The prompting backend's face: check, run, predict, evaluate."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.prompting import Settings, items, money, recipes, search
from backends.prompting.address import address
from backends.prompting.answers import Outcome, Recipe, answered, asking, provider
from backends.prompting.items import Item, Items, Task
from backends.prompting.recipes import ARTEFACT
from backends.prompting.scoring import Tally
from backends.prompting.serving import Prompted
from backends.prompting.store import Store, Totals
from backends.prompting.tokens import TooLong
from knowledge.errors import UserError

AT_ONCE = 256  # texts asked about between two results of `predict`
ANSWERS = "answers.sqlite"
PERCENTILES = (50, 90, 99)


def check(step: Step, settings: Settings, context: Context) -> None:
    """Look at endpoint, data, template, prices and budget before anything is sent.

    Raises:
        UserError: one of them will not do.
    """
    settings, _ = _priced(step, settings)
    task = items.task(step.data, settings, context.seed)
    plain = msgspec.structs.replace(settings, choice="fixed")  # embedding is for `run`
    made = recipes.recipe(_model(step), plain, task, context.seed)
    if settings.tuning is not None and (settings.provider == "local" or settings.reasoning):
        raise UserError("tuning is the endpoint's, and without reasoning; drop one of the two")
    money.refuse_unpriced(money.of(settings), context.budget_usd)
    first = next(iter(task.items))
    try:
        request, _ = made.request(first, made.prompt.examples)
    except TooLong as error:
        raise UserError(f"the item in line {first.line}: {error}") from None
    money.refuse_tiny(money.of(settings), context.budget_usd, request)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Ask about every test item, keep each answer, score them.

    Raises:
        UserError: bad input, or an endpoint that will answer nothing.
        Interrupted: the user stopped it or the budget is reached; `--resume` goes on.
    """
    settings, price_note = _priced(step, settings)
    task = items.task(step.data, settings, context.seed)
    money.refuse_unpriced(money.of(settings), context.budget_usd)
    store = Store(context.folder / ANSWERS)
    begun = perf_counter()
    try:
        model = _tuned(step, settings, task, store, context)
        if settings.search is not None:
            found = search.found(model, settings, task, store, context)
            model, settings = found.best.model, found.best.settings(settings)
            task = msgspec.structs.replace(task, notes=(*task.notes, *found.notes))
        made = recipes.recipe(model, settings, task, context.seed)
    except BaseException:
        store.worked(perf_counter() - begun)
        store.close()
        raise
    recipes.save(context.folder, made, task.pool)
    sheet = Sheet(context.folder / "predictions.jsonl", Tally(settings, task.labels))
    try:
        sheet.counts["from_journal"] = asyncio.run(_asked(made, task.items, sheet, store, context))
    finally:
        store.worked(perf_counter() - begun)
        sheet.close()
        if store.interrupted:
            context.progress.note(_interrupted(store))
    try:
        return _result(step, made, task, sheet, store, context, price_note)
    finally:
        store.close()


def _tuned(step: Step, settings: Settings, task: Task, store: Store, context: Context) -> str:
    """The model to ask: the step's, or what the provider makes of it."""
    model = _model(step)
    if settings.tuning is None:
        return model
    from backends.prompting.tuning import Tuner  # the openai client, which only this needs

    held = (
        ()
        if step.data.validation is None
        else tuple(
            items.items(
                Data(test=step.data.validation, shape=step.data.shape, columns=step.data.columns)
            )
        )
    )
    plain = recipes.prompt(model, settings, task.labels)
    state = Tuner(address(), settings, plain, store, context).tuned(task.train, held)
    assert state.model is not None  # it is finished
    return state.model


class Sheet:
    """`predictions.jsonl` as it is written, and what its lines add up to."""

    def __init__(self, path: Path | None, tally: Tally) -> None:
        self.tally = tally
        self.counts = Counter({"items": 0, "failed": 0, "repaired": 0, "cut": 0, "dropped": 0})
        self.failures: Counter[str] = Counter()
        self._file = None if path is None else path.open("wb")

    def take(self, item: Item, outcome: Outcome) -> None:
        """Write, count and score one outcome."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(outcome) + b"\n")
        self.counts["items"] += 1
        self.counts["repaired"] += outcome.repaired
        self.counts["cut"] += outcome.cut
        self.counts["dropped"] += outcome.dropped
        if outcome.failed is not None:
            self.counts["failed"] += 1
            self.failures[outcome.failed] += 1
        self.tally.take(item, outcome)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def predict(folder: Path, texts: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """What the model says to each text, in order.

    Args:
        options: `budget_usd`, a limit for this call.
    """
    made = recipes.load(folder)
    context = Context(folder, budget_usd=options.get("budget_usd"))
    money.refuse_unpriced(money.of(made.settings), context.budget_usd)
    store = Store()
    stream = enumerate(texts, start=1)
    while batch := [Item(line, text) for line, text in islice(stream, AT_ONCE)]:
        for item, outcome in asyncio.run(_outcomes(made, batch, store, context)):
            yield prediction(item, outcome)
        store.forget()


def service(folder: Path, **options: Any) -> Prompted:
    """A saved prompt ready to be asked many times.

    Args:
        options: `budget_usd`, a limit for as long as it is up.
    """
    return Prompted(folder, options.get("budget_usd"))


def evaluate(folder: Path, data: Data, **options: Any) -> dict[str, Metric]:
    """The metrics of a saved prompt on other data.

    Args:
        options: `budget_usd`, a limit for this call; `seed` of the intervals.
    """
    made = recipes.load(folder)
    asked_items = items.items(data)
    _refuse_strange(asked_items, made.prompt.labels)
    context = Context(folder, budget_usd=options.get("budget_usd"))
    money.refuse_unpriced(money.of(made.settings), context.budget_usd)
    sheet = Sheet(None, Tally(made.settings, made.prompt.labels))
    asyncio.run(_asked(made, asked_items, sheet, Store(), context))
    return sheet.tally.metrics(options.get("seed", context.seed))


def prediction(item: Item, outcome: Outcome) -> Prediction:
    """An outcome as the face has it."""
    return Prediction(
        text=item.text,
        label=outcome.label,
        confidence=outcome.share,
        answer=None if outcome.label is not None else outcome.value,
        abstained=outcome.failed is not None,
    )


async def _outcomes(
    made: Recipe, batch: list[Item], store: Store, context: Context
) -> list[tuple[Item, Outcome]]:
    taken: list[tuple[Item, Outcome]] = []
    who, prices = provider(made.settings, made.prompt.model), money.of(made.settings)
    async with asking(who, made.settings, prices, store, context.budget_usd) as asker:
        await answered(asker, made, batch, lambda *pair: taken.append(pair), context)
    return taken


async def _asked(made: Recipe, wanted: Items, sheet: Sheet, store: Store, context: Context) -> int:
    """Ask about all items; how many answers were kept from before."""
    context.progress.start("asking", len(wanted), "items")
    who, prices = provider(made.settings, made.prompt.model), money.of(made.settings)
    async with asking(who, made.settings, prices, store, context.budget_usd) as asker:
        await answered(asker, made, wanted, sheet.take, context)
        return asker.kept


def _result(
    step: Step,
    made: Recipe,
    task: Task,
    sheet: Sheet,
    store: Store,
    context: Context,
    price_note: str | None,
) -> StepResult:
    settings, totals = made.settings, store.totals()
    counts = {
        **sheet.counts,
        "requests": store.attempts,
        "from_cache": store.from_cache,
        "resent": store.interrupted,
        "input_tokens": totals.input,
        "cached_tokens": totals.cached,
        "output_tokens": totals.output,
    }
    context.log(**counts)
    where = made.prompt.model if settings.provider == "local" else address().host
    notes = [*task.notes, f"asked {where}", *_notes(sheet, store, totals)]
    if price_note is not None:
        notes.append(price_note)
    return StepResult(
        name=step.name,
        method=step.method,
        metrics={**sheet.tally.metrics(context.seed), **_latencies(totals)},
        seconds=store.seconds,
        usd=store.spent if money.of(settings).known else None,
        artefact=ARTEFACT,
        counts=counts,
        settings=msgspec.to_builtins(settings),
        notes=tuple(notes),
    )


def _latencies(totals: Totals) -> dict[str, Metric]:
    """Percentiles of the time that an answer took [s]."""
    count = len(totals.seconds)
    return {
        f"latency_p{percent}_s": Metric(
            totals.seconds[min(count - 1, count * percent // 100)], n=count
        )
        for percent in PERCENTILES
        if count
    }


def _priced(step: Step, settings: Settings) -> tuple[Settings, str | None]:
    own = settings.provider == "endpoint" and address().local
    return money.priced(settings, _model(step), own_server=own)


def _model(step: Step) -> str:
    if step.model is None:
        raise UserError(f"step {step.name!r} names no model; give the endpoint's name for one")
    return step.model


def _refuse_strange(asked: Items, labels: tuple[str, ...]) -> None:
    known = set(labels)
    strange = next(
        (one for item in asked if labels and (one := item.accepted[:1]) and one[0] not in known),
        None,
    )
    if strange is not None:
        raise UserError(
            f"the data has the label {strange[0]!r}, which the saved prompt does not know; "
            f"known: {', '.join(labels)}"
        )


def _interrupted(store: Store) -> str:
    return (
        f"{store.interrupted:,} requests were in flight when the process ended; they are asked "
        f"again with the same idempotency keys, and booked as possibly paid twice"
    )


def _notes(sheet: Sheet, store: Store, totals: Totals) -> Iterator[str]:
    """What a reader of the result should know."""
    for reason, count in sheet.failures.most_common(3):
        yield f"{count:,} items count as wrong: {reason}"
    if sheet.counts["cut"]:
        yield f"{sheet.counts['cut']:,} answers were cut at max_tokens; raise it if they matter"
    if sheet.counts["dropped"]:
        yield f"{sheet.counts['dropped']:,} examples were left out to keep messages short"
    if totals.without_usage:
        yield (
            f"{totals.without_usage:,} answers came without usage and are booked at their worst "
            f"case"
        )
    if store.interrupted:
        yield _interrupted(store)
    if store.unsure:
        yield (
            f"up to {store.unsure:.4g} USD of the sum is for attempts whose answer never came "
            f"and that may not have been billed"
        )
