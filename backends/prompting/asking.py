"""Requests sent many at a time: attempts repeated with back-off, money reserved before each."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import TypeVar
from weakref import WeakValueDictionary

from backends.base import Context, Interrupted
from backends.prompting import Settings
from backends.prompting.endpoint import Declined, Endpoint, Passing, Reply, Request
from backends.prompting.journal import Answered, Journal, Lost, Sent
from backends.prompting.money import BudgetReached, Ledger, Prices
from knowledge.errors import UserError

LONGEST_BACKOFF = 60.0
HOPELESS = 5  # items in a row without an answer before the endpoint is given up

Item = TypeVar("Item")


class Failed(Exception):  # noqa: N818 (one item; the others go on)
    """A request that brought no answer, with the last reason; `declined` if it never will."""

    def __init__(self, reason: str, *, declined: bool = False) -> None:
        super().__init__(reason)
        self.declined = declined


class Asker:
    """Asks one endpoint for one step, or returns what the journal has."""

    def __init__(
        self, endpoint: Endpoint, journal: Journal, ledger: Ledger, settings: Settings
    ) -> None:
        self.endpoint = endpoint
        self.journal = journal
        self.ledger = ledger
        self.prices = prices(settings)
        self.sent = 0
        self.kept = 0
        self.stop: Exception | None = None
        self._retries = settings.retries
        self._backoff = settings.backoff_s
        self._not_before = 0.0
        self._failed_in_a_row = 0
        self._jitter = Random()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def halt(self, reason: Exception) -> None:
        """Let nothing more be sent; the first reason is the one that is raised."""
        if self.stop is None:
            self.stop = reason

    async def reply(self, request: Request) -> Reply:
        """The reply to a request, from the journal if it has been answered before.

        Raises:
            Failed: no answer after all attempts, or the endpoint declines this request.
            UserError: no request will be answered.
            BudgetReached: another attempt could exceed the budget.
        """
        key = request.digest()
        lock = self._locks.setdefault(key, asyncio.Lock())  # equal requests in flight are one
        async with lock:
            if key in self.journal.answers:
                self.kept += 1
                return self.journal.answers[key].reply
            try:
                reply = await self._attempts(request, key)
            except Failed as failed:
                self._count(failed)
                raise
        self._failed_in_a_row = 0
        return reply

    def _count(self, failed: Failed) -> None:
        """Give the endpoint up after many failures; single requests may well be declined."""
        if failed.declined and self.journal.answers:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= HOPELESS:
            raise UserError(
                f"{self.endpoint.where.host} answered none of the last {HOPELESS} requests "
                f"({failed}); mend that, then go on with --resume"
            )

    async def _attempts(self, request: Request, key: str) -> Reply:
        worst = self.prices.worst(request)
        for attempt in range(self._retries + 1):
            await self._wait_until_allowed()
            ticket = await self.ledger.reserve(worst)
            if self.stop is not None:
                self.ledger.settle(ticket, 0.0)
                raise Failed("the run was stopped")
            self.journal.append(Sent(key, worst))
            self.sent += 1
            lost: Exception
            try:
                reply = await self.endpoint.answer(request)
            except Passing as fault:
                self._lose(ticket, key, str(fault), (worst or 0.0) if fault.maybe_billed else 0.0)
                lost = fault
                await self._back_off(attempt, fault)
            except (Declined, UserError) as fault:
                self._lose(ticket, key, str(fault), 0.0)
                if isinstance(fault, UserError):
                    raise
                raise Failed(str(fault), declined=True) from None
            else:
                usd = self.prices.usd(reply.usage) if reply.usage is not None else worst
                self.journal.append(Answered(key, reply, usd))
                self.ledger.settle(ticket, usd or 0.0)
                return reply
        raise Failed(f"{lost} ({self._retries + 1} attempts)")

    def _lose(self, ticket: int, key: str, reason: str, usd: float) -> None:
        self.journal.append(Lost(key, reason, usd))
        self.ledger.settle(ticket, usd, unsure=True)

    async def _back_off(self, attempt: int, fault: Passing) -> None:
        """Wait before the next attempt; a wait that the endpoint asks for holds all requests."""
        if attempt >= self._retries:
            return
        if fault.wait is not None:
            clock = asyncio.get_running_loop().time
            self._not_before = max(self._not_before, clock() + fault.wait)
            return
        longest = min(LONGEST_BACKOFF, self._backoff * 2**attempt)
        await asyncio.sleep(longest * self._jitter.uniform(0.5, 1.0))

    async def _wait_until_allowed(self) -> None:
        clock = asyncio.get_running_loop().time
        while (wait := self._not_before - clock()) > 0:
            # Not all at the same instant: the endpoint has just said that it was too much.
            await asyncio.sleep(wait * self._jitter.uniform(1.0, 1.1))


def prices(settings: Settings) -> Prices:
    """The prices that the plan wrote into a step."""
    return Prices(settings.usd_per_1m_input, settings.usd_per_1m_output, settings.usd_per_1m_cached)


async def each(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[None]],
    asker: Asker,
    context: Context,
    concurrency: int,
) -> None:
    """Work on items, so many at a time, in order of the items.

    The first error stops new requests; those in flight are waited for, since they are paid for.

    Raises:
        Interrupted: the user stopped the run, or the budget is reached; answers are kept.
        UserError: no request will be answered.
    """
    left = iter(items)
    done = 0

    async def worker() -> None:
        nonlocal done
        while asker.stop is None:
            try:
                context.check_stop(f"{done:,} items answered; the answers are kept")
                item = next(left, None)
                if item is None:
                    return
                await work(item)
            except BudgetReached:
                asker.halt(Interrupted(_reached(asker.ledger, done)))
            except Exception as error:
                asker.halt(error)
            else:
                done += 1
                context.progress.advance(done, usd=asker.ledger.spent)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    if asker.stop is not None:
        raise asker.stop


def _reached(ledger: Ledger, done: int) -> str:
    return (
        f"the budget of {ledger.limit:g} USD is reached after {done:,} items "
        f"({ledger.spent:.4g} USD booked); the answers are kept"
    )
