"""The user's own prices: `prices.yaml` here, or the file that ADVISOR_PRICES names.

    date: 2026-11-20                # when they were looked up; an entry may have its own
    gpus:
      H100-SXM-80GB: {on_demand: 2.10, spot: 1.20}
      L4: [{cloud: gcp, on_demand: 0.71, date: 2026-11-02}]
    apis:
      gpt-5-mini: {input: 0.25, output: 2.0, cached: 0.025}

A GPU's price without a cloud is what you pay and stands for all; one with a cloud takes the
place of that cloud's. An API's row takes the place of the packaged one.
"""

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from knowledge import gpus
from knowledge.errors import UserError, unknown
from knowledge.files import text_of
from knowledge.tables import yaml_value

VARIABLE, USUAL = "ADVISOR_PRICES", "prices.yaml"
GPU_HOUR_BELOW = 30.0
MILLION_TOKENS_BELOW = 700.0
"""Price lists write 700.0 for "not offered": nothing real costs as much."""
KEYS = ("date", "currency", "gpus", "apis")

Entry = TypeVar("Entry", "Offer", "Tariff")
Hourly = Annotated[float, msgspec.Meta(gt=0, lt=GPU_HOUR_BELOW)]
Rate = Annotated[float, msgspec.Meta(ge=0, lt=MILLION_TOKENS_BELOW)]


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one GPU costs [USD per GPU-hour]; no cloud: it is the user's own price."""

    on_demand: Hourly | None = None
    spot: Hourly | None = None
    cloud: str = ""
    date: dt.date | None = None
    source: str = ""


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one model costs [USD per 1e6 tokens], in the columns of the packaged table."""

    input: Rate | None = None
    output: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    batch_input: Rate | None = None
    batch_output: Rate | None = None
    long_above: int | None = None
    long_input: Rate | None = None
    long_output: Rate | None = None
    per_query: Rate | None = None
    max_input: int | None = None
    max_output: int | None = None
    train: Rate | None = None
    train_per_hour: Rate | None = None
    provider: str = "own"
    mode: str = "chat"
    date: dt.date | None = None
    source: str = ""


class Own(msgspec.Struct, frozen=True):
    """The prices of a file: offers by GPU, tariffs by model."""

    path: str
    gpus: Mapping[str, tuple[Offer, ...]] = {}
    apis: Mapping[str, Tariff] = {}


def place() -> Path:
    """The file of the user's own prices, whether it is there or not."""
    return Path(os.environ.get(VARIABLE) or USUAL)


def read(path: Path | None = None) -> Own | None:
    """The user's own prices; None where there is no such file.

    Raises:
        UserError: it cannot be read, or an entry is unknown, out of range, undated or in another
            currency.
    """
    path = place() if path is None else path
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise UserError(
                f"{VARIABLE} names {str(path)!r}, which is no file; correct or unset it"
            )
        return None
    document = _document(path)
    for key in document:
        if key not in KEYS:
            raise unknown(f"key of {path.name}", str(key), KEYS)
    currency = str(document.get("currency") or "USD")
    if currency.upper() != "USD":
        raise UserError(f"{path.name}: currency is {currency!r}; convert the prices to USD")
    day = document.get("date")
    return Own(
        str(path),
        dict(_offers(document.get("gpus") or {}, day, path)),
        dict(_tariffs(document.get("apis") or {}, day, path)),
    )


def written(own: Own) -> str:
    """The text of a file of prices: YAML that is JSON as well, one entry a line.

    JSON is read a hundred times as fast, and every command that estimates reads it.
    """
    lines = []
    for name, table in (("gpus", own.gpus), ("apis", own.apis)):
        rows = [
            f"{msgspec.json.encode(key).decode()}: {msgspec.json.encode(row).decode()}"
            for key, row in table.items()
        ]
        lines.append(f'"{name}": {{\n' + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _document(path: Path) -> Mapping[str, Any]:
    text = text_of(path, "YAML file of prices")
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = yaml_value(path)
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} holds no keys; it has gpus: and apis:")
    return value


def _offers(rows: Any, day: Any, path: Path) -> Iterator[tuple[str, tuple[Offer, ...]]]:
    for name, value in _mapping(rows, "gpus", path).items():
        card = gpus.find(str(name)).id
        listed = value if isinstance(value, list) else [value]
        offers = tuple(_entry(one, Offer, f"gpus, {name}", day, path) for one in listed)
        for offer in offers:
            if offer.on_demand is None and offer.spot is None:
                raise UserError(f"{path.name}: gpus, {name} has no on_demand or spot price")
        yield card, offers


def _tariffs(rows: Any, day: Any, path: Path) -> Iterator[tuple[str, Tariff]]:
    for name, value in _mapping(rows, "apis", path).items():
        row = _entry(value, Tariff, f"apis, {name}", day, path)
        if not any((row.input, row.output, row.train, row.per_query)):
            raise UserError(f"{path.name}: apis, {name} has no price above 0; leave it out")
        yield str(name), row


def _mapping(rows: Any, key: str, path: Path) -> Mapping[Any, Any]:
    if not isinstance(rows, dict):
        raise UserError(f"{path.name}: {key} is {rows!r}; it must be names with their prices")
    return rows


def _entry(value: Any, kind: type[Entry], where: str, day: Any, path: Path) -> Entry:
    """One entry, with the file's date where it has none."""
    if isinstance(value, int | float) and kind is Offer:
        value = {"on_demand": value}
    if not isinstance(value, dict):
        raise UserError(f"{path.name}: {where} is {value!r}; it must be keys with prices")
    for key in value:
        if key not in kind.__struct_fields__:
            raise unknown(f"key of {path.name} ({where})", str(key), kind.__struct_fields__)
    try:
        row = msgspec.convert({"date": day, **value}, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"{path.name}: {where}: {_plain(error, value)}") from None
    if row.date is None:
        raise UserError(f"{path.name}: {where} has no date; add the day on which it was looked up")
    return row


def _plain(error: msgspec.ValidationError, value: Mapping[str, Any]) -> str:
    """The complaint with the value seen; prices are plain numbers of USD."""
    text = str(error)
    key = text.partition("`$.")[2].partition("`")[0]
    if key == "date":
        return f"date is {value.get(key)!r}; write it as 2026-11-20"
    if key in value:
        limit = GPU_HOUR_BELOW if key in ("on_demand", "spot") else MILLION_TOKENS_BELOW
        return f"{key} is {value[key]!r}; it must be a number of USD, above 0 and below {limit:g}"
    return text
