"""Prices of rented GPUs and of model APIs, each with its date and source.

A row without a date is kept and never priced. The user's own list (`knowledge.own_prices`) goes
before the packaged rows.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from functools import cache
from statistics import median, quantiles
from typing import Literal

import msgspec

from knowledge import DATA, gpus
from knowledge.errors import UserError
from knowledge.names import found
from knowledge.own_prices import GPU_HOUR_BELOW, MILLION_TOKENS_BELOW, Offer, Own, Tariff, read
from knowledge.quantities import Range, around, exactly
from knowledge.tables import by_id, csv_rows

OWN = "own"
RECENT = dt.timedelta(days=365)
FEW_CLOUDS = 3
SPREAD = 1.3
"""Factor either way between clouds, used where fewer than `FEW_CLOUDS` sell a card.

Source: this table: the mean of sqrt(upper / lower quartile) over the cards that five or more
clouds sell, held by a test.
"""

Status = Literal["read", "remembered"]


class GpuPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One offer of rented GPUs [USD per GPU-hour].

    `gpu` is a catalogue id, or the name as published where that does not mean one card.
    `dated_by` says what the date is the date of, or why there is none.
    """

    id: str
    gpu: str
    published_as: str
    cloud: str
    n_gpus: int
    dated_by: str
    source: str
    licence: str
    status: Status
    instance: str = ""
    on_demand: float | None = None
    spot: float | None = None
    region: str = ""
    date: dt.date | None = None
    flag: Literal["", "suspect", "spot-as-on-demand"] = ""

    @property
    def unpriced(self) -> str | None:
        """Why the row is shown but never used, or None."""
        if self.date is None:
            return f"no date ({self.dated_by})"
        if self.flag == "suspect":
            return "digits off, or the price of several cards"
        offers = [price for price in (self.on_demand, self.spot) if price is not None]
        if not offers or not all(0 < price < GPU_HOUR_BELOW for price in offers):
            return f"outside 0 to {GPU_HOUR_BELOW:g} USD per GPU-hour"
        return None

    @property
    def priced(self) -> bool:
        """Whether totals may use the row."""
        return self.unpriced is None


class ApiPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model costs at one provider [USD per 1e6 tokens].

    Above `long_above` prompt tokens the whole request costs `long_input` and `long_output`.
    `other_input` and `other_output` are what a second list said three weeks later. `train` is
    the price of hosted fine-tuning per 1e6 trained tokens (times epochs).
    """

    id: str
    provider: str
    mode: Literal["chat", "responses", "embedding", "rerank", "fine-tuning"]
    source: str
    licence: str
    status: Status
    input: float | None = None
    output: float | None = None
    cached: float | None = None
    cache_write: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    long_above: int | None = None
    long_input: float | None = None
    long_output: float | None = None
    per_query: float | None = None
    max_input: int | None = None
    max_output: int | None = None
    train: float | None = None
    train_per_hour: float | None = None
    train_status: Literal["", "read", "remembered"] = ""
    retired: dt.date | None = None
    date: dt.date | None = None
    other_input: float | None = None
    other_output: float | None = None

    @property
    def unpriced(self) -> str | None:
        """Why the row is shown but never used, or None."""
        if self.date is None:
            return "no date"
        rates = [self.input, self.output, self.train, self.per_query]
        known = [rate for rate in rates if rate is not None]
        if not known:
            return "no price"
        if not all(0 <= rate < MILLION_TOKENS_BELOW for rate in known):
            return f"outside 0 to {MILLION_TOKENS_BELOW:g} USD per 1e6 tokens"
        return None

    @property
    def priced(self) -> bool:
        """Whether totals may use the row."""
        return self.unpriced is None

    @property
    def sold(self) -> bool:
        """Whether the provider had not withdrawn the model on the row's date."""
        return self.retired is None or self.date is None or self.retired > self.date

    def usd(
        self,
        input_tokens: float,
        output_tokens: float,
        cached_tokens: float = 0,
        *,
        batch: bool = False,
    ) -> float | None:
        """Cost of one request [USD]; None where it is unknown or cannot be bought.

        Args:
            input_tokens: the whole prompt, cached part included [tokens].
            cached_tokens: the part of the prompt that the provider has cached. Without a cached
                price, and in a batch, it costs as much as the rest; in the long-context tier
                its price rises as that of the prompt does.
            batch: the discounted, delayed queue; None where there is no batch price.
        Raises:
            ValueError: a count is negative, or more is cached than sent.
        """
        if min(input_tokens, output_tokens, cached_tokens) < 0 or cached_tokens > input_tokens:
            raise ValueError(
                f"no request has {input_tokens} prompt tokens, {cached_tokens} of them cached, "
                f"and {output_tokens} answer tokens"
            )
        rates = self._rates(input_tokens, batch)
        if self.unpriced or rates is None:
            return None
        into, out, cached = rates
        tokens = (input_tokens - cached_tokens) * into + cached_tokens * cached
        return (tokens + output_tokens * out) / 1e6 + (self.per_query or 0.0)

    def _rates(self, input_tokens: float, batch: bool) -> tuple[float, float, float] | None:
        if self.input is None or (self.max_input is not None and input_tokens > self.max_input):
            return None
        long = self.long_above is not None and input_tokens > self.long_above
        into, out = (
            (self.long_input, self.long_output) if long else (self.input, self.output or 0.0)
        )
        if into is None or out is None:
            return None
        rise = into / self.input if self.input else 1.0
        if batch:
            if self.batch_input is None or self.batch_output is None:
                return None
            out_rise = out / self.output if self.output else 1.0
            return self.batch_input * rise, self.batch_output * out_rise, self.batch_input * rise
        cached = into if self.cached is None else self.cached * rise
        return into, out, cached


class Quote(msgspec.Struct, frozen=True):
    """What renting a GPU costs [USD per GPU-hour]: quartiles over clouds, and from when."""

    range: Range
    clouds: int
    oldest: dt.date
    newest: dt.date


@cache
def own() -> Own | None:
    """The user's own prices, read once."""
    return read()


def reload() -> None:
    """Forget what was read, because the user's own file changed."""
    for kept in (own, gpu_table, api_table, quote_of, snapshot):
        kept.cache_clear()


@cache
def gpu_table() -> Mapping[str, GpuPrice]:
    """All GPU offers by id, in file order, the user's own at the end."""
    rows = by_id(csv_rows(DATA / "gpu_prices.csv", GpuPrice), "gpu_prices.csv")
    mine = own()
    for gpu, offers in (mine.gpus if mine else {}).items():
        replaced = {offer.cloud.lower() for offer in offers}
        rows = {
            key: row
            for key, row in rows.items()
            if row.gpu != gpu or ("" not in replaced and row.cloud.lower() not in replaced)
        }
        rows |= {f"own-{gpu}-{n}": _offer(gpu, offer, mine) for n, offer in enumerate(offers, 1)}
    return rows


@cache
def api_table() -> Mapping[str, ApiPrice]:
    """All API prices by the name the provider's clients use, the user's own before the others."""
    rows = by_id(csv_rows(DATA / "api_prices.csv", ApiPrice), "api_prices.csv")
    mine = own()
    return rows | {
        name: _tariff(name, row, mine) for name, row in (mine.apis if mine else {}).items()
    }


def _offer(gpu: str, offer: Offer, mine: Own | None) -> GpuPrice:
    return GpuPrice(
        id=f"own-{gpu}", gpu=gpu, published_as=gpu, cloud=offer.cloud or OWN, n_gpus=1,
        dated_by="your own file", source=offer.source or (mine.path if mine else ""),
        licence="own", status="read", on_demand=offer.on_demand, spot=offer.spot, date=offer.date,
    )  # fmt: skip


def _tariff(name: str, row: Tariff, mine: Own | None) -> ApiPrice:
    source = row.source or (mine.path if mine else "")
    plain = {**msgspec.structs.asdict(row), "id": name, "source": source}
    return msgspec.convert({**plain, "licence": "own", "status": "read"}, ApiPrice)


def find_api(name: str) -> ApiPrice:
    """The API price that a model name means; a provider's prefix may be left out.

    Raises:
        UserError: unknown, or sold by several providers (they are listed).
    """
    rows = api_table()
    short = {key: (key.rsplit("/", 1)[-1],) for key in rows}
    return rows[found("API model", name, short)]


def quote(
    gpu: str, *, spot: bool = False, rows: Mapping[str, GpuPrice] | None = None
) -> Quote | None:
    """What renting one GPU costs, or None where no dated offer is known.

    Each cloud counts once, with the median of its latest offers; offers within a year of the
    newest row of the table count, older ones only for a card that nobody lists any more.
    """
    table = gpu_table() if rows is None else rows
    offers = [row for row in table.values() if row.priced and _price(row, spot) is not None]
    mine = [row for row in offers if row.gpu == _card(gpu, table)]
    if not mine:
        return None
    newest = max(_day(row) for row in table.values() if row.priced)
    recent = [row for row in mine if newest - _day(row) <= RECENT] or mine
    by_cloud: dict[str, list[float]] = {}
    for row in _latest(recent):
        by_cloud.setdefault(row.cloud.lower(), []).append(_price(row, spot) or 0.0)
    days = [_day(row) for row in recent]
    each = [median(found) for found in by_cloud.values()]
    spread = exactly(each[0]) if list(by_cloud) == [OWN] else _quartiles(each)
    return Quote(spread, len(by_cloud), min(days), max(days))


@cache
def quote_of(gpu: str, *, spot: bool = False) -> Quote | None:
    """The quote from the tables, kept."""
    return quote(gpu, spot=spot)


def rent(gpu: str) -> Range | None:
    """On-demand rent of one GPU [USD per GPU-hour]: quartiles over clouds, None if unknown."""
    offer = quote_of(gpu)
    return None if offer is None else offer.range


def spot(gpu: str) -> Range | None:
    """Interruptible rent of one GPU [USD per GPU-hour]: quartiles over clouds, None if unknown."""
    offer = quote_of(gpu, spot=True)
    return None if offer is None else offer.range


@cache
def snapshot(kind: Literal["api", "gpu"] | None = None) -> str:
    """The date that figures are good for (ISO): the newest row of a table, of both the older."""
    if kind is None:
        return min(snapshot("api"), snapshot("gpu"))
    rows: Iterable[GpuPrice | ApiPrice] = (api_table() if kind == "api" else gpu_table()).values()
    return max(row.date for row in rows if row.date is not None).isoformat()


def age_days(today: dt.date, kind: Literal["api", "gpu"] | None = None) -> int:
    """Days since the snapshot; the caller says what day it is."""
    return (today - dt.date.fromisoformat(snapshot(kind))).days


def _card(gpu: str, table: Mapping[str, GpuPrice]) -> str:
    if any(row.gpu == gpu for row in table.values()):
        return gpu
    try:
        return gpus.find(gpu).id
    except UserError:
        return gpu


def _price(row: GpuPrice, spot: bool) -> float | None:
    if not spot:
        return row.on_demand
    return None if row.flag == "spot-as-on-demand" else row.spot


def _day(row: GpuPrice) -> dt.date:
    assert row.date is not None  # priced rows have one
    return row.date


def _latest(rows: Iterable[GpuPrice]) -> list[GpuPrice]:
    """The newest of each offer that was read on several days."""
    newest: dict[tuple[str, str, int, str], GpuPrice] = {}
    for row in sorted(rows, key=_day):
        newest[row.cloud.lower(), row.instance, row.n_gpus, row.region] = row
    return list(newest.values())


def _quartiles(prices: list[float]) -> Range:
    if len(prices) < FEW_CLOUDS:
        return around(median(prices), SPREAD)
    low, mid, high = quantiles(prices, n=4, method="inclusive")
    return Range(low, mid, high)
