"""What the user has and wants: one field is one question, one flag, one fact of the rules.

Absent is "don't know" everywhere; nothing here guesses. `origin` keeps where each answer came
from, so that a reader can tell a counted figure from a default.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from knowledge.errors import UserError, unknown
from knowledge.files import write_text
from knowledge.tables import yaml_value

Count = Annotated[int, msgspec.Meta(ge=0)]
Money = Annotated[float, msgspec.Meta(ge=0)]
Origin = Literal["asked", "default", "counted", "detected", "flag", "file", "unknown"]
Hardware = Literal["none", "1x16GB", "1x24GB", "1x48GB", "1x80GB", "8x80GB", "cluster"]
FILES = ("data", "test_data", "corpus", "questions", "measured")
SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
WORDS = {"yes": True, "true": True, "no": False, "false": False}
ALIASES = {
    "task": "task_type",
    "train_data": "data",
    "test": "test_data",
    "examples": "labelled_examples",
    "budget_usd": "train_budget_usd",
    "classes": "n_classes",
    "tokens": "unlabelled_tokens",
}


class Gpus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hardware said exactly: a GPU of the catalogue and how many of them."""

    gpu: str
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A task and its means; None is "don't know". Keys and values are the contract's."""

    name: str | None = None
    task_type: (
        Literal[
            "classify",
            "extract",
            "qa",
            "assistant",
            "generate",
            "summarize",
            "translate",
            "code",
            "sql",
            "reason",
            "predict-sequence",
        ]
        | None
    ) = None
    gap: Literal["facts", "behaviour", "both", "language", "preference", "cost-latency"] | None = (
        None
    )
    labelled_examples: Count | None = None
    n_classes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    unlabelled_tokens: Count | None = None
    corpus_in_base: (
        Literal["public-likely-in-base", "proprietary", "new-or-rare", "mixed"] | None
    ) = None
    data_change: Literal["static", "yearly", "monthly", "daily", "live"] | None = None
    citations: bool | None = None
    privacy: Literal["api-ok", "private-cloud", "on-prem", "on-device"] | None = None
    expertise: Literal["dev", "ml", "research"] | None = None
    hardware: Hardware | Gpus | None = None
    train_budget_usd: Money | None = None
    volume_per_month: Count | None = None
    latency: Literal["batch", "seconds", "sub-second"] | None = None
    tried: (
        Literal["nothing", "prompt-insufficient", "prompt-works-too-costly", "rag-insufficient"]
        | None
    ) = None
    domain_distance: (
        Literal["general", "jargon", "specialised", "new-language", "non-text"] | None
    ) = None
    preference_pairs: Count | None = None
    verifiable_reward: bool | None = None
    error_cost: Literal["low", "medium", "high"] | None = None
    n_tasks_on_base: Annotated[int, msgspec.Meta(ge=1)] | None = None
    provenance: Literal["any", "open-licence", "own-lineage"] | None = None
    target_quality: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    tokens_in: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tokens_out: Annotated[int, msgspec.Meta(ge=1)] | None = None
    language: str | None = None
    duplicates: Count | None = None
    personal_data: Count | None = None
    horizon_months: Annotated[float, msgspec.Meta(gt=0)] | None = None
    data: str | None = None
    test_data: str | None = None
    corpus: str | None = None
    questions: str | None = None
    measured: str | None = None
    origin: dict[str, Origin] = {}

    def answers(self) -> dict[str, Any]:
        """What is known, by key, without where it came from."""
        keys = (key for key in KEYS if key != "origin")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}

    def having(self, source: Origin, **values: Any) -> "Profile":
        """This profile with other values (None forgets one), their origin noted.

        Raises:
            UserError: an unknown key or a value of the wrong kind.
        """
        checked = {key: value_of(key, value) for key, value in values.items()}
        noted = dict(self.origin)
        for key, value in checked.items():
            noted[key] = "unknown" if value is None else source
        return msgspec.structs.replace(self, **checked, origin=noted)


TYPES: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Profile)}
KEYS = tuple(TYPES)


def choices(key: str) -> tuple[Any, ...]:
    """The values a key may have, where they are a fixed list; () for numbers and free text."""
    parts = _parts(TYPES[key])
    if bool in parts:
        return (True, False)
    return tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))


def is_number(key: str) -> bool:
    """Whether a key takes a number."""
    return any(part in (int, float) for part in _parts(TYPES[key]))


def number(text: str) -> float:
    """A number as people write it: `4,112`, `1.5M`, `20k`, `1e9`.

    Raises:
        ValueError: it is no number.
    """
    match = re.fullmatch(r"([0-9.e+]+) ?([kmbgt]?)", re.sub(r"[,_$]", "", text.strip().lower()))
    if match is None:
        raise ValueError(text)
    return float(match[1]) * SCALES[match[2]]


def value_of(key: str, value: Any) -> Any:
    """A value as the profile keeps it; words for numbers and yes/no are understood.

    Raises:
        UserError: an unknown key (with the nearest known one), or a value that does not fit it.
    """
    if key not in TYPES:
        raise unknown("profile key", key, [*KEYS, *ALIASES])
    if isinstance(value, str):
        value = _spoken(key, value.strip())
    elif isinstance(value, float) and value.is_integer() and float not in _parts(TYPES[key]):
        value = int(value)
    try:
        return msgspec.convert(value, TYPES[key])
    except msgspec.ValidationError:
        raise UserError(f"{key}: {value!r} does not fit; {_expected(key)}") from None


def settled(values: Mapping[str, Any], source: Origin = "file") -> Profile:
    """The profile that a mapping of answers means; None is "don't know".

    Raises:
        UserError: an unknown key, one given twice under two names, or a value that does not fit.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"a profile is a mapping of keys to values, not {type(values).__name__}")
    origin = value_of("origin", values.get("origin") or {})
    plain: dict[str, Any] = {}
    for given, value in values.items():
        key = ALIASES.get(str(given), str(given))
        if key in plain:
            raise UserError(f"profile key {key!r} is given twice, once by another name; keep one")
        plain[key] = value_of(key, value)
    plain.pop("origin", None)
    noted = {key: "unknown" if value is None else source for key, value in plain.items()}
    return Profile(**plain, origin={**noted, **origin})


def read(path: str | Path) -> Profile:
    """The profile in a YAML file; data paths are taken relative to the file's folder.

    Raises:
        UserError: the file cannot be read or does not hold a profile.
    """
    path = Path(path)
    values = yaml_value(path)
    if values is None:
        raise UserError(f"{str(path)!r} is empty; write at least 'task_type: ...' into it")
    try:
        profile = settled(values)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    found = {
        key: str((path.parent / place).resolve())
        for key in FILES
        if (place := getattr(profile, key)) is not None
    }
    return msgspec.structs.replace(profile, **found)


def text(profile: Profile, folder: Path | None = None) -> str:
    """The profile as YAML; data in or below the folder is named relatively to it."""
    import yaml  # only writing needs the emitter

    plain = msgspec.to_builtins(profile)
    for key in FILES:
        if folder is not None and key in plain:
            place = Path(plain[key]).resolve()
            if place.is_relative_to(folder):
                plain[key] = str(place.relative_to(folder))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def write(profile: Profile, path: str | Path) -> None:
    """The profile as a YAML file that `read` takes.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    write_text(path, text(profile, path.parent.resolve()))


def _spoken(key: str, text: str) -> Any:
    """A word typed by a person or a flag, as the value it stands for; unknown words pass."""
    if bool in _parts(TYPES[key]):
        return WORDS.get(text.lower(), text)
    if is_number(key):
        try:
            amount = number(text)
        except ValueError:
            return text
        return int(amount) if amount.is_integer() and amount < 2**63 else amount
    words = {word.lower(): word for word in choices(key)}
    gpus = re.fullmatch(r"(\d+) ?[x*] ?(\S+)", text) if key == "hardware" else None
    if gpus and text.lower() not in words:
        return {"gpu": gpus[2], "count": int(gpus[1])}
    return words.get(text.lower(), text)


def _expected(key: str) -> str:
    allowed = choices(key)
    if allowed:
        words = ("yes" if w is True else "no" if w is False else str(w) for w in allowed)
        also = ", or {gpu: NAME, count: N}" if key == "hardware" else ""
        return f"allowed: {', '.join(words)}{also}"
    if is_number(key):
        whole = "" if float in _parts(TYPES[key]) else "whole "
        return f"give a {whole}number (such as 20000 or 20k) in the range it can have"
    return "give text" if key != "origin" else f"allowed: {', '.join(get_args(Origin))}"


def _parts(kind: Any) -> tuple[Any, ...]:
    """The plain types in a possibly nested union or annotation."""
    if get_origin(kind) is Annotated:
        return _parts(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(part for member in get_args(kind) for part in _parts(member))
    return (kind,)
