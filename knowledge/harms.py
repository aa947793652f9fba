"""Words that name groups of people, and words of abuse: what toxicity and bias are counted by."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

import msgspec

from knowledge import DATA
from knowledge.tables import by_id, yaml_rows


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words of one group or one kind of abuse; `word*` stands for all that begin so."""

    id: str
    kind: Literal["group", "abuse"]
    axis: str
    words: tuple[str, ...]
    source: str


@cache
def table() -> Mapping[str, Words]:
    """All lists by id."""
    return by_id(yaml_rows(DATA / "harms.yaml", Words), "harms.yaml")
