"""The Pareto front: options that no other beats in both expected quality and cost."""

from collections.abc import Iterable

from advisor.estimates.records import Estimate
from advisor.recommendation.records import Point, Ranked


def front(options: Iterable[Ranked]) -> tuple[Point, ...]:
    """The options on the front, the cheapest first; those of unknown quality or cost are not."""
    found = [point for option in options if (point := _point(option)) is not None]
    found.sort(key=lambda point: (point.usd.mid, -point.quality.mid))
    kept: list[Point] = []
    for point in found:
        if not kept or point.quality.mid > kept[-1].quality.mid:
            kept.append(point)
    return tuple(kept)


def _point(option: Ranked) -> Point | None:
    estimate = option.estimate
    if option.quality is None or not isinstance(estimate, Estimate) or estimate.money.usd is None:
        return None
    return Point(option.id, option.stack, option.quality, estimate.money.usd)
