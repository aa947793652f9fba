"""The prompting backend's face: check, run, predict, evaluate."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import msgspec

from backends.base import Context, Data, Metric, Prediction, Step, StepResult
from backends.prompting import Settings, afterwards, batches, items, money, recipes, search
from backends.prompting.address import address
from backends.prompting.answers import Outcome, Recipe, answered, asking, provider
from backends.prompting.exchange import Provider
from backends.prompting.items import Item, Items, Task
from backends.prompting.recipes import ARTEFACT
from backends.prompting.scoring import Tally
from backends.prompting.serving import Prompted
from backends.prompting.sheets import Sheet, interrupted, latencies
from backends.prompting.store import Store
from backends.prompting.tokens import TooLong
from knowledge.errors import UserError

AT_ONCE = 256  # texts asked about between two results of `predict`
ANSWERS = "answers.sqlite"
PREDICTIONS = "predictions.jsonl"


def check(step: Step, settings: Settings, context: Context) -> None:
    """Look at endpoint, data, template, prices and budget before anything is sent.

    Raises:
        UserError: one of them will not do.
    """
    settings, _ = _priced(step, settings)
    task = items.task(step.data, settings, context.seed)
    plain = msgspec.structs.replace(settings, choice="fixed")  # embedding is for `run`
    made = recipes.recipe(_model(step), plain, task, context.seed)
    afterwards.check(settings)
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
        made, task = _prepared(step, settings, task, store, context)
        recipes.save(context.folder, made, task.pool)
        with Sheet(context.folder / PREDICTIONS, Tally(made.settings, task.labels)) as sheet:
            metrics = _measured(made, task.items, sheet, store, context)
        store.worked(perf_counter() - begun)
        counts, notes = sheet.summary(store)
        context.log(**counts)
        where = made.prompt.model if settings.provider == "local" else _host(settings)
        said = (
            *task.notes,
            f"asked {where}",
            *notes,
            *(() if price_note is None else (price_note,)),
        )
        return StepResult(
            name=step.name,
            method=step.method,
            metrics={**metrics, **latencies(store.totals())},
            seconds=store.seconds,
            usd=store.spent if money.of(made.settings).known else None,
            artefact=ARTEFACT,
            counts=counts,
            settings=msgspec.to_builtins(made.settings),
            notes=said,
        )
    except BaseException:
        store.worked(perf_counter() - begun)
        raise
    finally:
        if store.interrupted:
            context.progress.note(interrupted(store))
        store.close()


def _prepared(
    step: Step, settings: Settings, task: Task, store: Store, context: Context
) -> tuple[Recipe, Task]:
    """The recipe to measure: of the tuned model, if any, and of the variant that a search found."""
    model = _tuned(step, settings, task, store, context)
    if settings.search is not None:
        found = search.found(model, settings, task, store, context)
        model, settings = found.best.model, found.best.settings(settings)
        task = msgspec.structs.replace(task, notes=(*task.notes, *found.notes))
    return recipes.recipe(model, settings, task, context.seed), task


def _measured(
    made: Recipe, wanted: Items, sheet: Sheet, store: Store, context: Context
) -> dict[str, Metric]:
    """Ask about all items, and measure what has been answered."""
    settings = made.settings
    refused: dict[str, str] | None = None
    if settings.batch == "file":
        refused = batches.exchanged(made, wanted, store, context)
    sheet.kept = asyncio.run(_asked(made, wanted, sheet, store, context, refused))
    metrics = sheet.tally.metrics(context.seed)
    if settings.sandbox:
        told = afterwards.pairs(wanted, sheet.flushed())
        metrics |= afterwards.executed(told, settings, context)
    if settings.judge is not None:
        context.progress.start("judging", len(wanted), "answers")
        told = afterwards.pairs(wanted, sheet.flushed())
        judged = afterwards.judged(told, settings, made.prompt.model, store, context)
        metrics |= asyncio.run(judged)
    return metrics


def _tuned(step: Step, settings: Settings, task: Task, store: Store, context: Context) -> str:
    """The model to ask: the step's, or what the provider makes of it."""
    model = _model(step)
    if settings.tuning is None:
        return model
    from backends.prompting.tuning import Tuner  # the openai client, which only this needs

    where = msgspec.structs.replace(step.data, test=step.data.validation, train=None)
    held = () if where.test is None else tuple(items.items(where))
    plain = recipes.prompt(model, settings, task.labels)
    state = Tuner(address(), settings, plain, store, context).tuned(task.train, held)
    assert state.model is not None  # it is finished
    return state.model


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
    context = msgspec.structs.replace(context, seed=options.get("seed", context.seed))
    with TemporaryDirectory() as beside:
        sheet = Sheet(Path(beside) / PREDICTIONS, Tally(made.settings, made.prompt.labels))
        with sheet:
            return _measured(made, asked_items, sheet, Store(), context)


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


async def _asked(
    made: Recipe,
    wanted: Items,
    sheet: Sheet,
    store: Store,
    context: Context,
    refused: dict[str, str] | None,
) -> int:
    """Ask about all items; how many answers were kept from before.

    Args:
        refused: requests that a batch did not answer, with the reason; nothing is sent then.
    """
    context.progress.start("asking", len(wanted), "items")
    settings, prices = made.settings, money.of(made.settings)
    who: Provider = (
        provider(settings, made.prompt.model) if refused is None else batches.Filed(refused)
    )
    async with asking(who, settings, prices, store, context.budget_usd) as asker:
        await answered(asker, made, wanted, sheet.take, context)
        return asker.kept


def _priced(step: Step, settings: Settings) -> tuple[Settings, str | None]:
    if settings.batch == "file":  # nothing is sent, so nothing can be asked again
        settings = msgspec.structs.replace(settings, repair=False, cache=False)
    own = settings.provider == "endpoint" and settings.batch == "none" and address().local
    return money.priced(settings, _model(step), own_server=own)


def _host(settings: Settings) -> str:
    return "a batch API, by file" if settings.batch == "file" else address().host


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
