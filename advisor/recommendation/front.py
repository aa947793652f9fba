"""The Pareto front over the whole catalogue: what nothing beats in both quality and cost."""

from collections.abc import Iterable, Iterator, Sequence

from advisor.facts import facts
from advisor.measured import Measured
from advisor.options import Option, Way
from advisor.profile import Profile
from advisor.recommendation.costing import figures
from advisor.recommendation.expected import expected, standing
from advisor.recommendation.limits import barred, option_facts
from advisor.recommendation.ranking import Ranking
from advisor.recommendation.records import Point

SAME = 1.01  # times a cost that is the same cost


def front(
    profile: Profile,
    options: Iterable[Option],
    ranking: Ranking,
    measured: Sequence[Measured],
) -> tuple[Point, ...]:
    """The options on the front, the cheapest first; those of unknown quality or cost are not.

    Every option of a way that no rule bars is estimated; what does not fit, or is beyond the
    budget, is left out, and so is what is expected in another metric than the first place.
    """
    found = list(_points(profile, options, ranking, measured))
    if not found:
        return ()
    first = next((p.metric for p in found if p.stack == _lead(ranking)), found[0].metric)
    found = [point for point in found if point.metric == first]
    found.sort(key=lambda point: (point.usd.mid, -point.quality.mid))
    kept: list[Point] = []
    for point in found:
        if not kept or point.quality.mid > kept[-1].quality.mid:
            kept.append(point)
    # What costs about the same as a better one says nothing.
    return tuple(
        point
        for number, point in enumerate(kept)
        if all(better.usd.mid > SAME * point.usd.mid for better in kept[number + 1 :])
    )


def _lead(ranking: Ranking) -> tuple[str, ...]:
    return () if ranking.first is None else ranking.first.stack


def _points(
    profile: Profile,
    options: Iterable[Option],
    ranking: Ranking,
    measured: Sequence[Measured],
) -> Iterator[Point]:
    known = facts(profile)
    for option in options:
        if Way(option.stack, option.delivery) not in ranking.chances:
            continue
        if option.delivery == "self-hosted" and option.model and standing(option) is None:
            continue  # how good its base is, nothing says
        made, hoped = figures(option), expected(option, ranking, measured)
        if made is None or made.money.usd is None or hoped is None:
            continue
        if not barred({**known, **option_facts(option, made, profile)}):
            yield Point(option.id, option.stack, hoped.metric, hoped.range, made.money.usd)
