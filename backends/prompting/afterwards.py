"""What is measured on answers once they are there: programs executed, a judge asked."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import msgspec

from backends.base import Context, Metric
from backends.data import Message
from backends.evaluate import mean, sandbox, share
from backends.evaluate.executed import passes, same_rows
from backends.prompting import Settings
from backends.prompting.answers import Outcome, asking, provider
from backends.prompting.asking import Failed, each
from backends.prompting.exchange import Request
from backends.prompting.items import Item
from backends.prompting.labels import without_thought
from backends.prompting.money import Prices
from backends.prompting.store import Store
from knowledge.errors import UserError

Answered = tuple[Item, Outcome]
AT_ONCE = 256
LONGEST_VERDICT = 512  # tokens: some judges think first
QUESTION = """\
You compare two answers to one question. Criterion: {criterion}.

Question:
{question}

Answer A:
{first}

Answer B:
{second}

Reply with one word: A if answer A is better, B if answer B is better, or tie."""


def pairs(items: Iterable[Item], predictions: Path) -> Iterator[Answered]:
    """The items beside their outcomes, as `predictions.jsonl` has them."""
    with predictions.open("rb") as lines:
        for item, line in zip(items, lines, strict=False):
            yield item, msgspec.json.decode(line, type=Outcome)


def check(settings: Settings) -> None:
    """Look whether answers can be executed as the settings ask.

    Raises:
        UserError: the task has no programs, there is no sandbox, or no database.
    """
    if not settings.sandbox:
        return
    if settings.task not in ("code", "sql"):
        raise UserError(f"sandbox is for the tasks code and sql; the task is {settings.task!r}")
    if settings.task == "sql" and not Path(settings.database or "").is_file():
        raise UserError(
            f"SQL is executed on a database; {settings.database!r} is no sqlite file "
            f"(setting database)"
        )
    sandbox.require()


def executed(told: Iterable[Answered], settings: Settings, context: Context) -> dict[str, Metric]:
    """The share of programs that pass their tests, or of queries that bring the accepted rows."""
    scored = ((item, outcome) for item, outcome in told if item.accepted)

    def good(pair: Answered) -> bool:
        item, outcome = pair
        answer = None if outcome.failed else outcome.value
        if settings.task == "sql":
            return same_rows(answer, item.accepted, Path(settings.database or ""))
        return passes(answer, item.accepted)

    hits = count = 0
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as threads:
        while batch := list(islice(scored, AT_ONCE)):
            context.check_stop(f"{count:,} programs executed; the answers are kept")
            hits += sum(threads.map(good, batch))
            count += len(batch)
    name = "same_rows" if settings.task == "sql" else "tests_passed"
    return {name: share(hits, count)} if count else {}


async def judged(
    told: Iterable[Answered], settings: Settings, model: str, store: Store, context: Context
) -> dict[str, Metric]:
    """How a model likes the answers beside the accepted ones, asked in both orders.

    `judge_preference` is the mean of 1 (the answer is better in both orders), 0 (the accepted
    one is, or there is no answer) and 0.5; `judge_consistency` the share of pairs on which the
    judge says the same in both orders. Judges lean to what stands first: a preference that the
    order decides counts as a tie.

    Source: https://arxiv.org/abs/2306.05685, section 3.4 (position bias).

    Raises:
        Interrupted, UserError: as `asking.each`.
    """
    judge = settings.judge
    assert judge is not None  # the caller looked
    own = judge.usd_per_1m_input is None and judge.usd_per_1m_output is None
    prices = Prices(
        settings.usd_per_1m_input if own else judge.usd_per_1m_input,
        settings.usd_per_1m_output if own else judge.usd_per_1m_output,
    )
    scores: list[float] = []
    same: list[bool] = []
    lost = 0
    who = judge.model or model
    async with asking(
        provider(settings, who), settings, prices, store, context.budget_usd
    ) as asker:

        def request(item: Item, first: str, second: str) -> Request:
            text = QUESTION.format(
                criterion=judge.criterion, question=item.text, first=first, second=second
            )
            return Request(who, (Message("user", text),), LONGEST_VERDICT, face=settings.face)

        async def compare(pair: Answered) -> None:
            nonlocal lost
            item, outcome = pair
            if outcome.failed is not None or outcome.value is None:
                scores.append(0.0)
                return
            mine, accepted = outcome.value, item.accepted[0]
            try:
                ahead = verdict((await asker.reply(request(item, mine, accepted))).text)
                behind = verdict((await asker.reply(request(item, accepted, mine))).text)
            except Failed:
                lost += 1
                return
            turned = {"A": "B", "B": "A"}.get(behind, behind)
            same.append(ahead == turned)
            scores.append({"A": 1.0, "B": 0.0}.get(ahead, 0.5) if ahead == turned else 0.5)

        scored = ((item, outcome) for item, outcome in told if item.accepted)
        await each(scored, compare, asker, context, settings.concurrency)
    if lost:
        context.progress.note(f"{lost:,} answers were not judged: the judge did not answer")
    metrics = {"judge_preference": mean(scores, context.seed)} if scores else {}
    if same:
        metrics["judge_consistency"] = share(sum(same), len(same))
    return metrics


def verdict(reply: str) -> str:
    """What a judge says: "A", "B", or "tie", which also stands for what is neither."""
    words = without_thought(reply).replace("*", " ").replace(".", " ").replace(":", " ").split()
    plain = [word for word in words if word in ("A", "B") or word.lower() == "tie"]
    if len(words) > 1 and len(set(plain)) != 1:
        plain = plain[-1:]
    return plain[0] if plain and plain[0] in ("A", "B") else "tie"
