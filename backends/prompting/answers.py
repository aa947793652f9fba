"""What came of each item: its answer, the label it means, or why there is none."""

from collections.abc import Iterable, Sequence

import msgspec

from backends.base import Context, Metric
from backends.data import Message
from backends.evaluate import classification, exact_match, token_f1
from backends.prompting import Settings
from backends.prompting.address import Address
from backends.prompting.asking import Asker, Failed, each
from backends.prompting.endpoint import Endpoint, Request
from backends.prompting.items import Item
from backends.prompting.journal import Journal
from backends.prompting.labels import label_said, without_thought
from backends.prompting.money import Ledger
from backends.prompting.prompts import REPAIR, Prompt


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item after asking; `failed` says why it has no usable answer."""

    line: int
    accepted: tuple[str, ...] = ()
    answer: str | None = None
    label: str | None = None
    failed: str | None = None
    repaired: bool = False
    cut: bool = False


class Session(msgspec.Struct, frozen=True):
    """The outcomes in the order of the items, and how the asking went."""

    outcomes: tuple[Outcome, ...]
    sent: int
    kept: int


def request(prompt: Prompt, item: Item) -> Request:
    """The first request about an item."""
    return Request(
        model=prompt.model,
        messages=prompt.messages(item.text, item.before),
        max_tokens=prompt.max_tokens,
        temperature=prompt.temperature,
    )


async def asked(
    prompt: Prompt,
    settings: Settings,
    items: Iterable[Item],
    where: Address,
    journal: Journal,
    context: Context,
) -> Session:
    """Ask about all items; what the journal holds is not asked again.

    Raises:
        Interrupted, UserError: as `asking.each`.
    """
    outcomes: dict[int, Outcome] = {}
    ledger = Ledger(context.budget_usd, journal.spent, journal.unsure)
    async with Endpoint(where, settings.timeout_s) as endpoint:
        asker = Asker(endpoint, journal, ledger, settings)

        async def work(numbered: tuple[int, Item]) -> None:
            number, item = numbered
            outcomes[number] = await _outcome(asker, prompt, settings, item)

        await each(enumerate(items), work, asker, context, settings.concurrency)
    in_order = tuple(outcomes[number] for number in sorted(outcomes))
    return Session(in_order, asker.sent, asker.kept)


async def _outcome(asker: Asker, prompt: Prompt, settings: Settings, item: Item) -> Outcome:
    """The outcome of one item, with one round of repair for a label outside the set."""
    first = request(prompt, item)
    try:
        reply = await asker.reply(first)
    except Failed as failed:
        return Outcome(item.line, item.accepted, failed=str(failed))
    if not prompt.labels:
        answer = without_thought(reply.text)
        empty = None if answer else "the answer is empty"
        return Outcome(item.line, item.accepted, answer, failed=empty, cut=reply.cut)
    label = label_said(reply.text, prompt.labels)
    repaired = label is None and settings.repair
    if repaired:
        said = Message("assistant", reply.text)
        wanted = Message("user", REPAIR.format(labels=", ".join(prompt.labels)))
        second = msgspec.structs.replace(first, messages=(*first.messages, said, wanted))
        try:
            reply = await asker.reply(second)
        except Failed as failed:
            return Outcome(item.line, item.accepted, reply.text, failed=str(failed), cut=reply.cut)
        label = label_said(reply.text, prompt.labels)
    return Outcome(
        line=item.line,
        accepted=item.accepted,
        answer=reply.text,
        label=label,
        failed="the answer is outside the label set" if label is None else None,
        repaired=repaired and label is not None,
        cut=reply.cut,
    )


def metrics(outcomes: Sequence[Outcome], labels: Sequence[str], seed: int) -> dict[str, Metric]:
    """How good the answers are; an item without an answer is wrong, not left out."""
    scored = [outcome for outcome in outcomes if outcome.accepted]
    if not scored:
        return {}
    if labels:
        truth = [outcome.accepted[0] for outcome in scored]
        return classification(truth, [outcome.label for outcome in scored], seed=seed)
    answers = [None if outcome.failed else outcome.answer for outcome in scored]
    accepted = [outcome.accepted for outcome in scored]
    return {
        "exact_match": exact_match(answers, accepted),
        "token_f1": token_f1(answers, accepted, seed),
    }
