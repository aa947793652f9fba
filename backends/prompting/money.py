"""What calls cost: the worst case before, the real usage after, never above the budget."""

import asyncio
from pathlib import Path

import msgspec

from backends.prompting import Settings
from backends.prompting.exchange import Request, Usage
from knowledge import prices
from knowledge.errors import UserError, unknown
from knowledge.tables import yaml_value

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


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model of a price file [USD per 1e6 tokens]."""

    input: float | None = None
    output: float | None = None
    cached: float | None = None
    training: float | None = None


def priced(settings: Settings, model: str, *, own_server: bool) -> tuple[Settings, str | None]:
    """The settings with prices in them, and where those come from if not from the settings.

    Looked for in the settings, in their price file, then, unless the server is the user's own, in
    the catalogue. What is found nowhere stays unknown.

    Raises:
        UserError: the price file is broken or lacks the model.
    """
    if settings.usd_per_1m_input is not None or settings.usd_per_1m_output is not None:
        return settings, None
    if settings.provider == "local":
        return _with(settings, _Listed(0.0, 0.0, 0.0)), "a model of your own asks for no money"
    if settings.prices is not None:
        return _with(settings, _listed(Path(settings.prices), model)), f"prices: {settings.prices}"
    row = None if own_server else prices.api_table().get(model)
    if row is None or not row.priced or row.per_query:
        return settings, None
    listed = _Listed(row.input, row.output, row.cached, row.train)
    # Longer messages are refused, or cost more than these prices: they are not sent.
    bounds = (settings.context_tokens, row.long_above, row.max_input)
    longest = min((bound for bound in bounds if bound is not None), default=None)
    bounded = msgspec.structs.replace(settings, context_tokens=longest)
    return _with(bounded, listed), f"prices: the catalogue's of {row.id}, {row.date}"


def of(settings: Settings) -> Prices:
    """The prices that settings hold."""
    return Prices(settings.usd_per_1m_input, settings.usd_per_1m_output, settings.usd_per_1m_cached)


def _with(settings: Settings, listed: _Listed) -> Settings:
    tuning = settings.tuning
    if tuning is not None and tuning.usd_per_1m_training is None:
        tuning = msgspec.structs.replace(tuning, usd_per_1m_training=listed.training)
    return msgspec.structs.replace(
        settings,
        usd_per_1m_input=listed.input,
        usd_per_1m_output=listed.output,
        usd_per_1m_cached=listed.cached,
        tuning=tuning,
    )


def _listed(path: Path, model: str) -> _Listed:
    content = yaml_value(path)
    try:
        rows = msgspec.convert(content, dict[str, _Listed])
    except msgspec.ValidationError as error:
        raise UserError(
            f"{path.name}: {error}; write 'MODEL: {{input: 1.0, output: 2.0}}'"
        ) from None
    if model not in rows:
        raise unknown(f"price in {path.name} for", model, rows)
    return rows[model]


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
