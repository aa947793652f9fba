"""Where to start a training from, as published with good results."""

from functools import cache
from typing import Annotated, Literal

import msgspec

from knowledge import DATA
from knowledge.tables import by_id, yaml_rows

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Hyperparameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of one publication; `warmup` is a share of all steps."""

    id: str
    methods: tuple[str, ...]
    kinds: tuple[Literal["encoder", "decoder", "encoder-decoder"], ...]
    from_parameters: Positive
    learning_rate: Positive
    examples_a_step: Annotated[int, msgspec.Meta(ge=1)]
    epochs: Positive
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)]
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"]
    says: str
    source: str
    status: Literal["read", "remembered"]


@cache
def table() -> dict[str, Hyperparameters]:
    """All rows by id.

    Raises:
        UserError: a row is malformed or stands twice.
    """
    return by_id(yaml_rows(DATA / "hyperparameters.yaml", Hyperparameters), "hyperparameters.yaml")


def of(method: str, kind: str, parameters: float) -> Hyperparameters | None:
    """The row for a method on a model, that of the largest size it reaches; None without one."""
    rows = [
        row
        for row in table().values()
        if method in row.methods and kind in row.kinds and parameters >= row.from_parameters
    ]
    return max(rows, key=lambda row: row.from_parameters, default=None)
