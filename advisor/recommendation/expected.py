"""What to expect of an option: measured on the task, else by findings, less for a weaker base."""

from collections.abc import Sequence

import msgspec

from advisor.measured import Measured
from advisor.options import Option, Way
from advisor.recommendation.overruling import of_way
from advisor.recommendation.ranking import Ranking
from knowledge import quality, standings
from knowledge.quantities import Range
from knowledge.rules import TRAINING
from knowledge.standings import Standing

# What findings are of, by MMLU: hosted models where nothing is trained, else bases of 7 to 9
# billion parameters; and the part of a lead there [log-odds] that shows on another task.
# Source: the project's own judgement, overruled by the first pilot.
UNTRAINED, UNTRAINED_SHARE = 0.87, 0.5
TRAINED, TRAINED_SHARE = 0.75, 0.25


class Hoped(msgspec.Struct, frozen=True):
    """A quality with its interval, what it counts, and where it is from.

    Of a finding: the row's id, what it says, and the facts that are not known to be as there.
    """

    range: Range
    metric: str
    source: str
    measured: bool
    row: str = ""
    says: str = ""
    unmet: tuple[str, ...] = ()


def expected(option: Option, ranking: Ranking, measured: Sequence[Measured]) -> Hoped | None:
    """The quality of an option in the likeliest world; None where nothing speaks of it."""
    way = Way(option.stack, option.delivery)
    found = of_way(way, measured)
    if found is not None:
        return Hoped(found.range, found.metric, found.source, measured=True)
    if not ranking.worlds:
        return None
    hoped = quality.expected(way.stack, ranking.worlds[0].facts)
    if hoped is None:
        return None
    range_ = quality.shifted(hoped.range, _less(standing(option), way))
    return Hoped(
        range_, hoped.row.metric, hoped.row.cited(), False,
        row=hoped.row.id, says=hoped.row.says, unmet=hoped.unmet,
    )  # fmt: skip


def standing(option: Option) -> Standing | None:
    """What put an option's open base model in its place; None where it has none."""
    if option.delivery != "self-hosted" or option.model is None:
        return None
    return standings.find(option.model, option.benchmark)


def _less(row: Standing | None, way: Way) -> float:
    """How far a weaker base takes the quality down [log-odds]."""
    if row is None or row.metric != "MMLU":
        return 0.0
    trained = bool(set(way.stack) & set(TRAINING))
    usual, share = (TRAINED, TRAINED_SHARE) if trained else (UNTRAINED, UNTRAINED_SHARE)
    return min(0.0, share * quality.apart(row.score / 100, usual))
