"""A saved prompt as a service: one connection, one ledger, asked many times."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from backends.base import Prediction, Turn
from backends.data import Message
from backends.prompting import money, recipes
from backends.prompting.answers import asking, outcome, provider
from backends.prompting.asking import Failed
from backends.prompting.exchange import Declined, Passing
from backends.prompting.items import Item
from backends.prompting.money import BudgetReached
from backends.prompting.readings import formed
from backends.prompting.store import Store
from backends.prompting.tokens import TooLong
from knowledge.errors import UserError

FORGOTTEN_AFTER = 1000  # answers; the shared cache keeps them if it is on


class Prompted:
    """Asks the saved prompt about conversations; spends no more than the budget while it runs."""

    def __init__(self, folder: Path, budget_usd: float | None) -> None:
        self._made = recipes.load(folder)
        self._budget = budget_usd
        self._store = Store()
        self._answered = 0
        money.refuse_unpriced(money.of(self._made.settings), budget_usd)

    async def __aenter__(self) -> "Prompted":
        self._stack = AsyncExitStack()
        settings = self._made.settings
        who = provider(settings, self._made.prompt.model)
        self._asker = await self._stack.enter_async_context(
            asking(who, settings, money.of(settings), self._store, self._budget)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self._store.close()

    async def answer(self, turns: tuple[Turn, ...]) -> Prediction:
        """What the model says to a conversation.

        Raises:
            UserError: the endpoint answers nothing, or the budget is reached.
        """
        item = self._item(turns)
        (examples,) = self._made.selector.chosen([item.text])
        try:
            said = await outcome(self._asker, self._made, item, examples)
        except BudgetReached:
            raise self._spent() from None
        self._answered += 1
        if self._answered % FORGOTTEN_AFTER == 0:
            self._store.forget()
        return Prediction(
            text=item.text,
            label=said.label,
            confidence=said.share,
            answer=None if said.label is not None else said.value,
            abstained=said.failed is not None,
        )

    async def stream(self, turns: tuple[Turn, ...]) -> AsyncIterator[str]:
        """The answer as it comes; one that has to be checked or voted on comes whole.

        Raises:
            UserError: as `answer`; also when the stream breaks off.
        """
        if formed(self._made.prompt) or self._made.settings.samples > 1:
            said = await self.answer(turns)
            yield said.label or said.answer or ""
            return
        item = self._item(turns)
        (examples,) = self._made.selector.chosen([item.text])
        try:
            request, _ = self._made.request(item, examples)
            async with aclosing(self._asker.stream(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except BudgetReached:
            raise self._spent() from None
        except (Passing, Declined, Failed, TooLong) as error:
            raise UserError(str(error)) from None

    def _item(self, turns: tuple[Turn, ...]) -> Item:
        before = tuple(Message(turn.role, turn.content) for turn in turns[:-1])
        return Item(0, turns[-1].content, before)

    def _spent(self) -> UserError:
        return UserError(
            f"the budget of {self._budget:g} USD is reached ({self._store.spent:.4g} USD booked)"
        )
