"""What came of each item: its answer, what the answer means, or why there is none."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from backends.base import Context
from backends.data import Message
from backends.prompting import Settings
from backends.prompting.address import address
from backends.prompting.asking import Asker, Failed, each
from backends.prompting.endpoint import Endpoint
from backends.prompting.examples import Selector, with_examples
from backends.prompting.exchange import Provider, Reply, Request
from backends.prompting.items import Item
from backends.prompting.money import Ledger, Prices
from backends.prompting.prompts import Example, Prompt
from backends.prompting.readings import Reading, formed, reading, repair
from backends.prompting.store import Cache, Store, cache_file
from backends.prompting.tokens import Counter as TokenCounter
from backends.prompting.tokens import Room, TooLong


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item after asking; `failed` says why it has no usable answer.

    `answer` is what the model said, `value` what it means (`label` where that is one), `share`
    how much of the drawn answers agree with it, `dropped` how many examples found no room.
    """

    line: int
    accepted: tuple[str, ...] = ()
    answer: str | None = None
    label: str | None = None
    value: str | None = None
    failed: str | None = None
    repaired: bool = False
    cut: bool = False
    share: float | None = None
    dropped: int = 0


class Recipe(NamedTuple):
    """How items become requests: the prompt, its examples, the room for them, the settings."""

    prompt: Prompt
    selector: Selector
    room: Room
    settings: Settings

    def request(self, item: Item, examples: tuple[Example, ...]) -> tuple[Request, int]:
        """The first request about an item, and how many examples were dropped.

        Raises:
            TooLong: it cannot be sent.
        """
        prompt = self.prompt
        messages, dropped = self.room.messages(prompt, item.text, item.before, examples)
        made = Request(
            model=prompt.model,
            messages=messages,
            max_tokens=prompt.max_tokens,
            temperature=prompt.temperature,
            face=prompt.face,
            format=_format(self.settings, prompt),
        )
        return made, dropped


def room(prompt: Prompt, settings: Settings) -> Room:
    """The room that messages have under the settings."""
    tokenizer = settings.tokenizer or (prompt.model if settings.provider == "local" else None)
    counted = settings.prompt_tokens is not None or settings.context_tokens is not None
    counter = TokenCounter(tokenizer if counted else None)
    return Room(counter, settings.prompt_tokens, settings.context_tokens, prompt.max_tokens)


def provider(settings: Settings, model: str) -> Provider:
    """Who answers."""
    if settings.provider == "local":
        return _local(model, settings.batch_size, _changed(model))
    return Endpoint(address(), settings.timeout_s)


@lru_cache(maxsize=1)
def _local(model: str, batch_size: int, changed: int) -> Provider:
    """A loaded model; the last one is kept, since it is asked again and again."""
    from backends.prompting.local import Local  # loads torch

    return Local(model, batch_size)


def _changed(model: str) -> int:
    """When a model's folder was last written [ns]; 0 for what is no folder."""
    folder = Path(model).expanduser()
    files = folder.iterdir() if folder.is_dir() else ()
    return max((file.stat().st_mtime_ns for file in files), default=0)


@asynccontextmanager
async def asking(
    who: Provider, settings: Settings, prices: Prices, store: Store, budget: float | None
) -> AsyncIterator[Asker]:
    """An asker with its provider and cache, for as long as the block lasts."""
    ledger = Ledger(budget, store.spent, store.unsure)
    cache = Cache(who.identity, cache_file()) if settings.cache else None
    try:
        async with who:
            yield Asker(who, store, ledger, settings, prices, cache)
    finally:
        if cache is not None:
            cache.close()


async def answered(
    asker: Asker,
    recipe: Recipe,
    items: Iterable[Item],
    take: Callable[[Item, Outcome], None],
    context: Context,
) -> None:
    """Ask about all items and hand on each outcome, in the order of the items.

    Raises:
        Interrupted, UserError: as `asking.each`.
    """
    ready: dict[int, tuple[Item, Outcome]] = {}
    next_number = 0

    async def work(numbered: tuple[int, tuple[Item, tuple[Example, ...]]]) -> None:
        nonlocal next_number
        number, (item, examples) = numbered
        ready[number] = item, await outcome(asker, recipe, item, examples)
        while asker.stop is None and next_number in ready:
            take(*ready.pop(next_number))
            next_number += 1

    shown = with_examples(items, recipe.selector, lambda item: item.text)
    await each(enumerate(shown), work, asker, context, recipe.settings.concurrency)


async def outcome(
    asker: Asker, recipe: Recipe, item: Item, examples: tuple[Example, ...]
) -> Outcome:
    """The outcome of one item: one answer, or the one that most of several drawn give."""
    blank = Outcome(item.line, item.accepted)
    try:
        first, dropped = recipe.request(item, examples)
    except TooLong as error:
        return msgspec.structs.replace(blank, failed=str(error))
    drawn = [
        await _drawn(asker, recipe, msgspec.structs.replace(first, sample=number), blank)
        for number in range(recipe.settings.samples)
    ]
    votes = Counter(one.value for one in drawn if one.value is not None)
    best = drawn[0] if not votes else _of_value(drawn, votes.most_common(1)[0][0])
    share = votes[best.value] / len(drawn) if len(drawn) > 1 and best.value is not None else None
    return msgspec.structs.replace(best, share=share, dropped=dropped)


def _of_value(drawn: list[Outcome], value: str | None) -> Outcome:
    return next(one for one in drawn if one.value == value)


async def _drawn(asker: Asker, recipe: Recipe, first: Request, blank: Outcome) -> Outcome:
    """One answer, with one round of repair where it cannot be used."""
    try:
        reply = await asker.reply(first)
    except Failed as failed:
        return msgspec.structs.replace(blank, failed=str(failed))
    read = reading(reply.text, recipe.prompt)
    repaired = read.fault is not None and recipe.settings.repair and formed(recipe.prompt)
    if repaired:
        said = Message("assistant", reply.text)
        wanted = Message("user", repair(read.fault or "", recipe.prompt))
        second = msgspec.structs.replace(first, messages=(*first.messages, said, wanted))
        try:
            reply = await asker.reply(second)
        except Failed as failed:
            return msgspec.structs.replace(
                blank, answer=reply.text, failed=str(failed), cut=reply.cut
            )
        read = reading(reply.text, recipe.prompt)
    return _told(blank, reply, read, recipe.prompt, repaired=repaired)


def _told(
    blank: Outcome, reply: Reply, read: Reading, prompt: Prompt, *, repaired: bool
) -> Outcome:
    return msgspec.structs.replace(
        blank,
        answer=reply.text,
        label=read.value if prompt.labels else None,
        value=read.value,
        failed=read.fault,
        repaired=repaired and read.fault is None,
        cut=reply.cut,
    )


def _format(settings: Settings, prompt: Prompt) -> dict[str, object] | None:
    if settings.response_format == "json_object":
        return {"type": "json_object"}
    if settings.response_format == "json_schema" and prompt.schema is not None:
        return {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": prompt.schema, "strict": True},
        }
    return None
