"""Public price lists that people have on disk, read into the rows of `prices.yaml`.

Two formats are known by their columns: LiteLLM's `model_prices_and_context_window.json` and
SkyPilot's catalogue (`vms.csv`, one file a cloud). Both are undated and known to hold rows that
are digits off: each row is checked, and what is not taken says why.
"""

import csv
import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import msgspec

from knowledge import gpus, prices
from knowledge.errors import UserError
from knowledge.files import text_of
from knowledge.own_prices import GPU_HOUR_BELOW, MILLION_TOKENS_BELOW, Offer, Own, Tariff

PER_TOKEN = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "batch_input": "input_cost_per_token_batches",
    "batch_output": "output_cost_per_token_batches",
}
LONG = (128_000, 200_000, 256_000, 272_000)
AS_IS = {"max_input": "max_input_tokens", "max_output": "max_output_tokens",
         "per_query": "input_cost_per_query"}  # fmt: skip
MODES = {"chat", "responses", "embedding", "rerank"}
SKY = ("AcceleratorName", "AcceleratorCount", "Price", "SpotPrice")
WILD = 10.0
"""A change by more than this factor is more often a slip of digits than a price."""

Fate = Literal["new", "changed", "same", "refused"]


class Change(NamedTuple):
    """One row of a list: what becomes of it, in words, with the prices before and after."""

    id: str
    fate: Fate
    before: str
    after: str
    why: str = ""


class Import(NamedTuple):
    """What a list holds: the rows to take over, and every row's fate."""

    kind: str
    own: Own
    changes: tuple[Change, ...]


def read(path: Path, day: dt.date) -> Import:
    """The rows of a price list, checked against ranges and against what was known.

    Args:
        day: the day from which the list is.
    Raises:
        UserError: it cannot be read, or is in neither format.
    """
    text = text_of(path, "price list")
    if text.lstrip().startswith("{"):
        return _litellm(text, path, day)
    columns = next(csv.reader(text.splitlines()), [])
    if set(SKY) <= set(columns):
        return _skypilot(text, path, day)
    raise UserError(
        f"{str(path)!r} is no price list that is known; give LiteLLM's JSON or a SkyPilot CSV "
        f"with the columns {', '.join(SKY)}"
    )


def merged(mine: Own | None, new: Own) -> Own:
    """The user's prices with the new rows in the place of those they replace."""
    offers = dict(mine.gpus) if mine else {}
    for gpu, rows in new.gpus.items():
        clouds = {row.cloud.lower() for row in rows}
        kept = tuple(row for row in offers.get(gpu, ()) if row.cloud.lower() not in clouds)
        offers[gpu] = (*kept, *rows)
    return Own(new.path, offers, {**(mine.apis if mine else {}), **new.apis})


def _litellm(text: str, path: Path, day: dt.date) -> Import:
    try:
        rows = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise UserError(f"{str(path)!r} is not JSON: {error}") from None
    if not any(isinstance(row, dict) and PER_TOKEN["input"] in row for row in rows.values()):
        raise UserError(
            f"{str(path)!r} holds no model with {PER_TOKEN['input']!r}; give LiteLLM's price list"
        )
    taken: dict[str, Tariff] = {}
    changes = []
    for name, row in rows.items():
        if name == "sample_spec" or not isinstance(row, dict) or row.get("mode") not in MODES:
            continue
        tariff, why = _tariff(row, path, day)
        old = prices.api_table().get(name)
        before = "" if old is None else _said(old.input, old.output)
        if tariff is None:
            changes.append(Change(name, "refused", before, "", why))
            continue
        after = _said(tariff.input, tariff.output)
        wild = _wild(old.input if old else None, tariff.input)
        if wild:
            changes.append(Change(name, "refused", before, after, wild))
            continue
        fate: Fate = "new" if old is None else "same" if before == after else "changed"
        taken[name] = tariff
        changes.append(Change(name, fate, before, after))
    return Import("LiteLLM", Own(str(path), {}, taken), tuple(changes))


def _tariff(row: Mapping[str, Any], path: Path, day: dt.date) -> tuple[Tariff | None, str]:
    """The row in USD per 1e6 tokens, or why it is not taken."""
    plain: dict[str, Any] = {}
    for key, theirs in PER_TOKEN.items():
        if row.get(theirs) is not None:
            plain[key] = _million(row[theirs])
    for size in LONG:
        into = row.get(f"input_cost_per_token_above_{size // 1000}k_tokens")
        if into is not None:
            out = row.get(f"output_cost_per_token_above_{size // 1000}k_tokens")
            plain |= {"long_above": size, "long_input": _million(into)}
            plain["long_output"] = None if out is None else _million(out)
    plain |= {key: row[theirs] for key, theirs in AS_IS.items() if row.get(theirs) is not None}
    for key, value in plain.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None, f"{key} is {value!r}, no number"
        if key in PER_TOKEN and not 0 <= value < MILLION_TOKENS_BELOW:
            return None, f"{key} is {value:g}, outside 0 to {MILLION_TOKENS_BELOW:g} USD per 1e6"
    if not any(plain.get(key) for key in ("input", "output", "per_query")):
        return None, "no price above 0"
    if plain.get("cached") is not None and plain["cached"] > (plain.get("input") or 0):
        return None, "cached input costs more than input"
    provider = str(row.get("litellm_provider") or "")
    plain |= {"provider": provider, "mode": row["mode"], "date": day, "source": path.name}
    try:
        return msgspec.convert(plain, Tariff, strict=False), ""
    except msgspec.ValidationError as error:
        return None, str(error)


def _million(value: Any) -> Any:
    return round(value * 1e6, 9) if isinstance(value, int | float) else value


def _said(into: float | None, out: float | None) -> str:
    return " / ".join("-" if rate is None else f"{rate:g}" for rate in (into, out))


def _wild(before: float | None, after: float | None) -> str:
    if not before or not after:
        return ""
    by = max(before / after, after / before)
    return f"{by:.3g} times off what was known; write it into prices.yaml if true" if (
        by > WILD
    ) else ""  # fmt: skip


def _skypilot(text: str, path: Path, day: dt.date) -> Import:
    cloud = path.stem if path.stem != "vms" else path.resolve().parent.name
    found: dict[str, dict[str, list[float]]] = {}
    refused: dict[str, str] = {}
    said: dict[str, str] = {}
    for name, key, price in _hourly(text):
        card = gpus.nearest(name)
        if card is not None and name in gpus.names():
            said[card.id] = f"{name!r} taken for it"
        if card is None:
            refused[name] = "no such GPU in the catalogue"
        elif price is None or not 0 < price < GPU_HOUR_BELOW:
            refused.setdefault(card.id, f"{key} outside 0 to {GPU_HOUR_BELOW:g} USD per GPU-hour")
        else:
            found.setdefault(card.id, {}).setdefault(key, []).append(price)
    changes = [Change(name, "refused", "", "", why) for name, why in refused.items()]
    taken = {}
    for card_id, by_key in found.items():
        mid = {key: round(median(values), 4) for key, values in by_key.items()}
        taken[card_id] = (Offer(**mid, cloud=cloud, date=day, source=path.name),)
        old = prices.rent(card_id)
        before = "" if old is None else f"{old.mid:.2f}"
        after = _said(mid.get("on_demand"), mid.get("spot"))
        wild = _wild(old.mid if old else None, mid.get("on_demand"))
        fate: Fate = "refused" if wild else "new" if old is None else "changed"
        changes.append(Change(card_id, fate, before, after, wild or said.get(card_id, "")))
        if wild:
            del taken[card_id]
    return Import("SkyPilot", Own(str(path), taken, {}), tuple(changes))


def _hourly(text: str) -> Iterator[tuple[str, str, float | None]]:
    """Name, kind of price and USD per GPU-hour of every offer; None where it is no number."""
    for row in csv.DictReader(text.splitlines()):
        name = (row.get("AcceleratorName") or "").strip()
        if not name:
            continue
        for key, column in (("on_demand", "Price"), ("spot", "SpotPrice")):
            cell = (row.get(column) or "").strip()
            if not cell:
                continue
            try:
                yield name, key, float(cell) / float(row.get("AcceleratorCount") or 1)
            except (ValueError, ZeroDivisionError):
                yield name, key, None
