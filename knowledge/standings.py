"""How models of a class did on its usual benchmark: which of those that fit is taken first."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from knowledge import DATA
from knowledge.tables import by_id, yaml_rows

Metric = Literal["MMLU", "HumanEval", "GLUE", "MTEB classification"]


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one model reached on the benchmark of its class [percent]."""

    id: str
    model: str
    metric: Metric
    score: Annotated[float, msgspec.Meta(gt=0, le=100)]
    source: str
    status: Literal["read", "remembered"]


@cache
def table() -> Mapping[tuple[str, str], Standing]:
    """All rows by model and metric.

    Raises:
        UserError: a row is malformed or stands twice.
    """
    rows = by_id(yaml_rows(DATA / "standings.yaml", Standing), "standings.yaml")
    return MappingProxyType({(row.model, row.metric): row for row in rows.values()})


def find(model: str, metric: Metric) -> Standing | None:
    """The standing of a model on a benchmark; None where none is known."""
    return table().get((model, metric))
