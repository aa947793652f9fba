"""Variants of a prompt compared on held-out items: a race that drops what is surely worse.

All variants are asked the same items, more of them each round. A variant leaves when the paired
difference to the leader excludes zero. The test data is never seen here.

Source: racing, https://doi.org/10.1023/A:1006556606079; the spread over wordings,
https://arxiv.org/abs/2310.11324.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import msgspec

from backends.base import Context, Metric
from backends.data import Message
from backends.evaluate import mean
from backends.prompting import Settings, money, recipes
from backends.prompting.answers import answered, asking, provider
from backends.prompting.asking import Failed
from backends.prompting.exchange import Request
from backends.prompting.items import Item, Task
from backends.prompting.labels import without_thought
from backends.prompting.scoring import Tally
from backends.prompting.store import Store
from knowledge.errors import UserError

FILE = "search.json"
LONGEST_WORDING = 512  # tokens
REWRITE = (
    "Rewrite this instruction in other words, with the same meaning and the same demands on the "
    "answer's form. Answer with the rewritten instruction alone.\n\n{instruction}"
)


class Variant(msgspec.Struct, frozen=True):
    """One way to ask."""

    model: str
    instruction: str
    shots: int
    choice: str

    def settings(self, base: Settings) -> Settings:
        """The settings of a step that asks this way."""
        changed = {"instruction": self.instruction, "shots": self.shots, "choice": self.choice}
        return msgspec.structs.replace(base, search=None, **changed)


class Standing(msgspec.Struct, frozen=True):
    """What is known of a variant when the race is over.

    `behind` is how far it is behind the chosen one on the items that both were asked, with its
    paired interval; `usd_per_1000` what a thousand items cost (None: unknown price).
    """

    variant: Variant
    metric: str
    score: Metric
    behind: Metric
    usd_per_1000: float | None
    dropped_after: int | None = None


class Found(msgspec.Struct, frozen=True):
    """The outcome of a search, the best first; `spread` is over wordings alone."""

    standings: tuple[Standing, ...]
    spread: tuple[float, float] | None
    spread_items: int
    notes: tuple[str, ...]

    @property
    def best(self) -> Variant:
        """The variant to go on with."""
        return self.standings[0].variant


class _Racer(msgspec.Struct):
    """A variant while the race is on."""

    variant: Variant
    scores: list[float] = []
    usd: float | None = None
    metric: str = ""
    dropped_after: int | None = None

    @property
    def level(self) -> float:
        return sum(self.scores) / len(self.scores)


def found(model: str, settings: Settings, task: Task, store: Store, context: Context) -> Found:
    """The variants of a step in the order of their scores on the held-out items.

    Raises:
        UserError: nothing to compare or to compare on, or an endpoint that answers nothing.
        Interrupted: stopped, or the budget is reached; answers are kept.
    """
    search = settings.search
    assert search is not None  # the caller looked
    if not task.dev or not any(item.accepted for item in task.dev):
        raise UserError("search compares on solved items; the held-out data has none")
    racers = [_Racer(variant) for variant in _variants(model, settings, task, store, context)]
    if len(racers) < 2:
        raise UserError("search has one variant only; give instructions, shots, choices or models")
    count = min(search.first, len(task.dev))
    rounds = 0
    while True:
        rounds += 1
        alive = [racer for racer in racers if racer.dropped_after is None]
        for racer in alive:
            label = f"search, round {rounds}: {racer.variant.shots} shots"
            context.progress.start(label, count, "items")
            _asked(racer, settings, task, task.dev[:count], store, context)
        _drop(alive, count, context.seed)
        alive = [racer for racer in racers if racer.dropped_after is None]
        if len(alive) == 1 or count == len(task.dev):
            break
        count = min(2 * count, len(task.dev))
    outcome = _outcome(racers, context.seed)
    content = msgspec.json.format(msgspec.json.encode(outcome), indent=2)
    (context.folder / FILE).write_bytes(content)
    return outcome


def _variants(
    model: str, settings: Settings, task: Task, store: Store, context: Context
) -> Iterator[Variant]:
    search = settings.search
    assert search is not None
    plain = recipes.prompt(model, settings, task.labels).instruction
    wordings = list(search.instructions or (plain,))
    if search.paraphrases:
        if not wordings[0]:
            raise UserError("there is no instruction to paraphrase; set instruction")
        wordings += asyncio.run(_paraphrases(wordings[0], model, settings, store, context))
    grid = product(
        search.models or (model,),
        dict.fromkeys(wordings),
        dict.fromkeys(search.shots or (settings.shots,)),
        dict.fromkeys(search.choices or (settings.choice,)),
    )
    seen = set()
    for name, wording, shots, choice in grid:
        variant = Variant(name, wording, shots, choice if shots else "fixed")
        if variant not in seen:
            seen.add(variant)
            yield variant


async def _paraphrases(
    instruction: str, model: str, settings: Settings, store: Store, context: Context
) -> list[str]:
    assert settings.search is not None
    asked = Message("user", REWRITE.format(instruction=instruction))
    who = provider(settings, model)
    made: list[str] = []
    async with asking(who, settings, money.of(settings), store, context.budget_usd) as asker:
        for number in range(settings.search.paraphrases):
            request = Request(model, (asked,), LONGEST_WORDING, 1.0, number, settings.face)
            try:
                said = without_thought((await asker.reply(request)).text)
            except Failed as failed:
                raise UserError(f"the instruction was not paraphrased: {failed}") from None
            if said:
                made.append(said)
    return made


def _asked(
    racer: _Racer,
    base: Settings,
    task: Task,
    items: Sequence[Item],
    store: Store,
    context: Context,
) -> None:
    """Ask one variant about the first items; those of earlier rounds are kept."""
    variant = racer.variant
    settings = variant.settings(base)
    made = recipes.recipe(variant.model, settings, task, context.seed)
    tally = Tally(settings, task.labels)
    prices = money.of(settings)

    async def ask() -> float:
        who = provider(settings, variant.model)
        async with asking(who, settings, prices, store, context.budget_usd) as asker:
            await answered(asker, made, items, tally.take, context)
            return asker.worth

    worth = asyncio.run(ask())
    racer.scores = tally.primary()
    racer.metric = tally.primary_name
    racer.usd = 1000 * worth / len(items) if prices.known else None


def _drop(alive: Sequence[_Racer], count: int, seed: int) -> None:
    """Let those leave that are surely behind the leader."""
    leader = min(alive, key=_rank)
    for racer in alive:
        if racer is not leader and (_behind(racer, leader, seed).low or 0.0) > 0:
            racer.dropped_after = count


def _behind(racer: _Racer, leader: _Racer, seed: int) -> Metric:
    both = zip(leader.scores, racer.scores, strict=False)  # on the items that both were asked
    return mean([best - mine for best, mine in both], seed)


def _rank(racer: _Racer) -> tuple[bool, float, float]:
    """Those that lasted first, then the better, then the cheaper."""
    return racer.dropped_after is not None, -racer.level, racer.usd or 0.0


def _outcome(racers: Sequence[_Racer], seed: int) -> Found:
    ranked = sorted(racers, key=_rank)
    best = ranked[0]
    standings = tuple(
        Standing(
            variant=racer.variant,
            metric=racer.metric,
            score=mean(racer.scores, seed),
            behind=_behind(racer, best, seed),
            usd_per_1000=racer.usd,
            dropped_after=racer.dropped_after,
        )
        for racer in ranked
    )
    wordings = [racer for racer in racers if _only_wording(racer.variant, best.variant)]
    shared = min(len(racer.scores) for racer in wordings)
    levels = [sum(racer.scores[:shared]) / shared for racer in wordings]
    spread = (min(levels), max(levels)) if len(levels) > 1 else None
    return Found(standings, spread, shared, tuple(_notes(standings, spread, shared, len(levels))))


def _only_wording(one: Variant, other: Variant) -> bool:
    return (one.model, one.shots, one.choice) == (other.model, other.shots, other.choice)


def _notes(
    standings: Sequence[Standing], spread: tuple[float, float] | None, shared: int, wordings: int
) -> Iterator[str]:
    for place, standing in enumerate(standings[:5], start=1):
        variant, score = standing.variant, standing.score
        cost = "unknown" if standing.usd_per_1000 is None else f"{standing.usd_per_1000:.3g} USD"
        yield (
            f"search {place} of {len(standings)}: {standing.metric} {score.value:.3f} "
            f"({score.low:.3f} to {score.high:.3f}) on {score.n} held-out items, {cost} per "
            f"1,000: {variant.model}, {variant.shots} shots"
            + (f" {variant.choice}" if variant.shots else "")
            + f", {variant.instruction[:60]!r}"
        )
    if spread is not None:
        yield (
            f"over {wordings} wordings of the instruction alone the score goes from "
            f"{spread[0]:.3f} to {spread[1]:.3f} on the same {shared} items"
        )


def read(folder: Path) -> Found:
    """The search of a finished step.

    Raises:
        UserError: there was none.
    """
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Found)
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"{str(folder)!r} holds no search: {error}") from None
