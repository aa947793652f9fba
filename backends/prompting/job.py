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
from backends.data import quantiles
from backends.prompting import Settings, items
from backends.prompting.address import address
from backends.prompting.answers import Outcome, Session, asked, metrics, request
from backends.prompting.asking import prices
from backends.prompting.items import Item, Task
from backends.prompting.journal import Journal, Part
from backends.prompting.money import refuse_tiny, refuse_unpriced
from backends.prompting.prompts import ANSWER, CLASSIFY, CLASSIFY_INSTRUCTION, Prompt
from knowledge.errors import UserError

ARTEFACT = "prompt"
LONGEST_FREE_ANSWER = 512  # tokens, where max_tokens is not set
SPARE = 16  # tokens beyond the longest label: models wrap labels in quotes and spaces
AT_ONCE = 256  # texts asked about between two results of `predict`


class Saved(msgspec.Struct, frozen=True):
    """What `prompt/prompt.json` holds; the template lies beside it, to be read and edited."""

    prompt: Prompt
    settings: Settings


def check(step: Step, settings: Settings, context: Context) -> None:
    """Look at endpoint, data, template and budget before anything is sent.

    Raises:
        UserError: one of them will not do.
    """
    address()
    task = items.task(step.data, settings, context.seed)
    prompt = _prompt(step, settings, task)
    first = request(prompt, task.items[0])
    refuse_unpriced(prices(settings), context.budget_usd)
    refuse_tiny(prices(settings), context.budget_usd, first)


def run(step: Step, settings: Settings, context: Context) -> StepResult:
    """Ask about every test item, keep each answer, score them.

    Raises:
        UserError: bad input, or an endpoint that will answer nothing.
        Interrupted: the user stopped it or the budget is reached; `--resume` goes on.
    """
    where = address()
    task = items.task(step.data, settings, context.seed)
    prompt = _prompt(step, settings, task)
    refuse_unpriced(prices(settings), context.budget_usd)
    _save(context.folder, Saved(prompt, settings))
    context.progress.start("asking", len(task.items), "items")
    journal = Journal(context.folder / "answers.jsonl")
    begun = perf_counter()
    try:
        session = asyncio.run(asked(prompt, settings, task.items, where, journal, context))
    finally:
        journal.append(Part(perf_counter() - begun))
        journal.close()
    _write_outcomes(context.folder / "predictions.jsonl", session.outcomes)
    counts = _counts(session, journal)
    waits = [round(1000 * entry.reply.seconds) for entry in journal.answers.values()]
    if waits:
        context.log(**counts, latency_ms=msgspec.to_builtins(quantiles(waits)))
    return StepResult(
        name=step.name,
        method=step.method,
        metrics=metrics(session.outcomes, prompt.labels, context.seed),
        seconds=journal.seconds,
        usd=journal.spent if prices(settings).known else None,
        artefact=ARTEFACT,
        counts=counts,
        settings=msgspec.to_builtins(settings),
        notes=(*task.notes, f"asked {where.host}", *_notes(session.outcomes, journal)),
    )


def predict(folder: Path, texts: Iterable[str], **options: Any) -> Iterator[Prediction]:
    """What the model says to each text, in order.

    Args:
        options: `budget_usd`, a limit for this call.
    """
    saved = _saved(folder)
    where = address()
    context = Context(folder, budget_usd=options.get("budget_usd"))
    refuse_unpriced(prices(saved.settings), context.budget_usd)
    journal = Journal()
    stream = enumerate(texts, start=1)
    while batch := [Item(line, text) for line, text in islice(stream, AT_ONCE)]:
        session = asyncio.run(asked(saved.prompt, saved.settings, batch, where, journal, context))
        for item, outcome in zip(batch, session.outcomes, strict=True):
            yield Prediction(
                text=item.text,
                label=outcome.label,
                answer=None if saved.prompt.labels else outcome.answer,
                abstained=outcome.failed is not None,
            )
        journal.answers.clear()


def evaluate(folder: Path, data: Data, **options: Any) -> dict[str, Metric]:
    """The metrics of a saved prompt on other data.

    Args:
        options: `budget_usd`, a limit for this call; `seed` of the intervals.
    """
    saved = _saved(folder)
    asked_items = items.items(data)
    _refuse_strange(asked_items, saved.prompt)
    context = Context(folder, budget_usd=options.get("budget_usd"))
    refuse_unpriced(prices(saved.settings), context.budget_usd)
    session = asyncio.run(
        asked(saved.prompt, saved.settings, asked_items, address(), Journal(), context)
    )
    return metrics(session.outcomes, saved.prompt.labels, options.get("seed", context.seed))


def _prompt(step: Step, settings: Settings, task: Task) -> Prompt:
    if step.model is None:
        raise UserError(f"step {step.name!r} names no model; set the endpoint's name for one")
    longest = max((len(label.encode()) for label in task.labels), default=0)
    usual = longest + SPARE if task.labels else LONGEST_FREE_ANSWER
    return Prompt(
        model=step.model,
        template=settings.template or (CLASSIFY if task.labels else ANSWER),
        max_tokens=settings.max_tokens or usual,
        instruction=settings.instruction or (CLASSIFY_INSTRUCTION if task.labels else ""),
        system=settings.system,
        labels=task.labels,
        definitions=settings.definitions,
        examples=task.examples,
        temperature=settings.temperature,
    )


def _refuse_strange(asked_items: Iterable[Item], prompt: Prompt) -> None:
    if not prompt.labels:
        return
    strange = {label for item in asked_items for label in item.accepted} - set(prompt.labels)
    if strange:
        raise UserError(
            f"{len(strange)} labels of this data are not the prompt's, {min(strange)!r} for one; "
            f"the prompt knows: {', '.join(prompt.labels[:12])}"
        )


def _save(folder: Path, saved: Saved) -> None:
    beside = folder / ARTEFACT
    beside.mkdir(parents=True, exist_ok=True)
    (beside / "template.jinja").write_text(saved.prompt.template, encoding="utf-8")
    content = msgspec.json.format(msgspec.json.encode(saved), indent=2)
    (beside / "prompt.json").write_bytes(content)


def _saved(folder: Path) -> Saved:
    beside = folder / ARTEFACT
    try:
        saved = msgspec.json.decode((beside / "prompt.json").read_bytes(), type=Saved)
        template = (beside / "template.jinja").read_text(encoding="utf-8")
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{str(folder)!r} holds no usable prompt: {error}") from None
    return Saved(msgspec.structs.replace(saved.prompt, template=template), saved.settings)


def _write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> None:
    with path.open("wb") as lines:
        for outcome in outcomes:
            lines.write(msgspec.json.encode(outcome) + b"\n")


def _counts(session: Session, journal: Journal) -> dict[str, int]:
    usages = [entry.reply.usage for entry in journal.answers.values() if entry.reply.usage]
    outcomes = session.outcomes
    return {
        "items": len(outcomes),
        "failed": sum(outcome.failed is not None for outcome in outcomes),
        "repaired": sum(outcome.repaired for outcome in outcomes),
        "cut": sum(outcome.cut for outcome in outcomes),
        "requests": journal.attempts,
        "from_journal": session.kept,
        "input_tokens": sum(usage.input for usage in usages),
        "cached_tokens": sum(usage.cached for usage in usages),
        "output_tokens": sum(usage.output for usage in usages),
    }


def _notes(outcomes: Iterable[Outcome], journal: Journal) -> Iterator[str]:
    """What a reader of the result should know."""
    failures = Counter(outcome.failed for outcome in outcomes if outcome.failed is not None)
    for reason, count in failures.most_common(3):
        yield f"{count:,} items count as wrong: {reason}"
    cut = sum(outcome.cut for outcome in outcomes)
    if cut:
        yield f"{cut:,} answers were cut at max_tokens; raise it if they matter"
    unpriced = sum(entry.reply.usage is None for entry in journal.answers.values())
    if unpriced:
        yield f"{unpriced:,} answers came without usage and are booked at their worst case"
    if journal.unsure:
        yield (
            f"up to {journal.unsure:.4g} USD of the sum is for attempts whose answer never came "
            f"and that may not have been billed"
        )
