"""What calls cost: the worst case before, the real usage after, never above the budget."""

import asyncio

import msgspec

from backends.prompting.endpoint import Request, Usage
from knowledge.errors import UserError

MILLION = 1_000_000
# Chat templates wrap each turn in markers, and some add a system text of their own.
TOKENS_A_CALL = 128
TOKENS_A_MESSAGE = 16


class Prices(msgspec.Struct, frozen=True):
    """USD for a million tokens; None is unknown."""

    input: float | None
    output: float | None
    cached: float | None = None

    @property
    def known(self) -> bool:
        """Whether a call can be priced."""
        return self.input is not None and self.output is not None

    def usd(self, usage: Usage) -> float | None:
        """The price of a call; cached tokens without a price of their own cost the full one."""
        if self.input is None or self.output is None:
            return None
        cached = self.input if self.cached is None else self.cached
        plain = max(0, usage.input - usage.cached)
        sent = plain * self.input + usage.cached * cached
        return (sent + usage.output * self.output) / MILLION

    def worst(self, request: Request) -> float | None:
        """The most that a call can cost [USD]."""
        return self.usd(Usage(most_tokens(request), request.max_tokens))


def most_tokens(request: Request) -> int:
    """A bound on the tokens of a request, whatever the tokenizer.

    Byte-level and byte-fallback tokenizers never make more tokens than there are bytes.

    Off by: about a factor of four above the usual count of English.
    """
    content = sum(len(message.content.encode()) for message in request.messages)
    return content + TOKENS_A_MESSAGE * len(request.messages) + TOKENS_A_CALL


class BudgetReached(Exception):  # noqa: N818 (nothing is wrong: the cap works)
    """The next call could exceed the budget."""


class Ledger:
    """Money spent, and money set aside for calls in flight, under one limit.

    `spent` includes what attempts may have cost whose answer never came (`unsure`).
    """

    def __init__(self, limit: float | None, spent: float = 0.0, unsure: float = 0.0) -> None:
        self.limit = limit
        self.spent = spent
        self.unsure = unsure
        self._reserved: dict[int, float] = {}
        self._number = 0
        self._settled = asyncio.Event()

    async def reserve(self, worst: float | None) -> int:
        """A ticket for a call that costs at most so much; waits while others may free money.

        Raises:
            BudgetReached: it does not fit, and nothing in flight could make room.
        """
        while not self._fits(worst):
            if not self._reserved:
                raise BudgetReached
            self._settled.clear()
            await self._settled.wait()
        self._number += 1
        self._reserved[self._number] = worst or 0.0
        return self._number

    def settle(self, ticket: int, usd: float, *, unsure: bool = False) -> None:
        """Book what the call of a ticket cost, and free the rest."""
        del self._reserved[ticket]
        self.spent += usd
        self.unsure += usd if unsure else 0.0
        self._settled.set()

    def _fits(self, worst: float | None) -> bool:
        if self.limit is None:
            return True
        return self.spent + sum(self._reserved.values()) + (worst or 0.0) <= self.limit


def refuse_unpriced(prices: Prices, budget: float | None) -> None:
    """Refuse a budget that nobody could watch.

    Raises:
        UserError: there is a budget and no price.
    """
    if budget is not None and not prices.known:
        raise UserError(
            f"a budget of {budget:g} USD cannot be kept without prices; set usd_per_1m_input and "
            f"usd_per_1m_output in the step's settings (both 0 for a server of your own)"
        )


def refuse_tiny(prices: Prices, budget: float | None, request: Request) -> None:
    """Refuse a budget that not even one call fits in.

    Raises:
        UserError: the worst case of the call is above the budget.
    """
    worst = prices.worst(request)
    if budget is not None and worst is not None and worst > budget:
        raise UserError(
            f"a budget of {budget:g} USD is too small for one call, which may cost {worst:.2g} USD "
            f"({most_tokens(request):,} tokens in, {request.max_tokens:,} out); raise the budget, "
            f"or lower shots or max_tokens"
        )
