"""Asking the estimators about one measured row."""

from collections.abc import Callable, Mapping
from typing import Any

from advisor.estimates import estimate
from advisor.estimates.records import Estimate
from advisor.job import settled
from knowledge.errors import UserError
from knowledge.quantities import Range

Predict = Callable[[Mapping[str, Any]], Estimate]


def predicted(keys: Mapping[str, Any]) -> Estimate:
    """The estimate of the job that keys and values say.

    Raises:
        UserError: the job says something that cannot be.
    """
    return estimate(settled(keys))


def asked(
    job: Callable[[], Mapping[str, Any]],
    predict: Predict,
    figure: Callable[[Estimate], Range | None],
) -> tuple[Range | None, str | None]:
    """The figure predicted for a job, or why there is none."""
    try:
        answer = figure(predict(job()))
    except UserError as error:
        return None, str(error)
    return answer, None if answer is not None else "the estimate does not know this figure"


def present(**keys: Any) -> dict[str, Any]:
    """The keys that a row fills; whole numbers as such, since cells are read as decimals."""
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in keys.items()
        if value not in (None, "")
    }
