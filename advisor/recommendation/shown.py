"""The options shown: each way with the first base model whose estimate fits the means."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from advisor.estimates.records import Estimate
from advisor.facts import facts
from advisor.measured import Measured
from advisor.options import Option, Way, carried
from advisor.profile import Profile
from advisor.recommendation.costing import figures as estimated
from advisor.recommendation.costing import over_volume
from advisor.recommendation.expected import Hoped, expected, standing
from advisor.recommendation.limits import barred, option_facts
from advisor.recommendation.overruling import of_way
from advisor.recommendation.ranking import Ranking
from advisor.recommendation.reasons import points_by_matter, reasons
from advisor.recommendation.records import Because, Excluded, Ranked, Reason
from advisor.recommendation.words import said
from knowledge import models, rules
from knowledge.standings import Standing

LEAST = 0.002  # chance of the first place below which an option is not worth showing


class Shown(NamedTuple):
    """The options to show, and the ways that have none, by the rules that say why."""

    options: tuple[Ranked, ...]
    out: dict[Way, tuple[str, ...]]


def shown(
    profile: Profile,
    ranking: Ranking,
    top: int,
    out: Mapping[Way, tuple[str, ...]],
    measured: Sequence[Measured] = (),
) -> Shown:
    """The best `top` options with their estimates; what fails on an estimate joins `out`."""
    known = facts(profile)
    options: list[Ranked] = []
    failed = dict(out)
    for way, chance in ranking.chances.items():
        if len(options) == top or (options and chance < LEAST):
            break
        against: tuple[str, ...] = barred({**known, "base_fits": False})
        best: tuple[float, Option, Estimate | None] | None = None
        for option in carried(way, profile):
            if best is not None and option.model != best[1].model:
                break
            figures = estimated(option)
            against = barred({**known, **option_facts(option, figures, profile)})
            usd = None if figures is None else figures.money.usd
            if not against and (best is None or (usd is not None and usd.mid < best[0])):
                best = (inf if usd is None else usd.mid), option, figures
        if best is not None:
            options.append(_ranked(profile, *best[1:], chance, ranking, known, measured))
        elif against:
            failed[way] = against
    return Shown(tuple(options), failed)


def left_out(view: Shown, known: Mapping[str, Any]) -> tuple[Excluded, ...]:
    """The stacks that estimates ruled out, each once."""
    table = rules.table()
    stacks = {way.stack: against for way, against in view.out.items()}
    kept = {option.stack for option in view.options}
    return tuple(
        Excluded(stack, tuple(Because(key, said(table[key].says, known)) for key in against))
        for stack, against in stacks.items()
        if stack not in kept
    )


def _ranked(
    profile: Profile,
    option: Option,
    figures: Estimate | None,
    chance: float,
    ranking: Ranking,
    known: Mapping[str, Any],
    measured: Sequence[Measured],
) -> Ranked:
    way = Way(option.stack, option.delivery)
    open_base = option.delivery == "self-hosted" and option.model is not None
    hoped = expected(option, ranking, measured)
    points = [
        world.judgement.points[way] * world.share
        for world in ranking.worlds
        if way in world.judgement.points
    ]
    return Ranked(
        id=option.id,
        stack=option.stack,
        methods=option.methods,
        model=option.model,
        delivery=option.delivery,
        hardware=option.hardware,
        score=round(sum(points), 3),
        probability=round(chance, 4),
        quality=hoped.range if hoped else None,
        estimate=figures,
        reasons=(
            *_results(of_way(way, measured)),
            *reasons(way, ranking, known),
            *_finding(hoped),
            *_base(option, standing(option)),
        ),
        quality_metric=hoped.metric if hoped else None,
        quality_source=hoped.source if hoped else None,
        measured=bool(hoped and hoped.measured),
        points=points_by_matter(way, ranking),
        over_volume=over_volume(option, figures),
        architecture=models.find(option.model).kind if open_base else None,
    )


def _finding(hoped: Hoped | None) -> Iterator[Reason]:
    """What the expected quality rests on, and whether the user is inside its conditions."""
    if hoped is None or hoped.measured:
        return
    unmet = " and ".join(hoped.unmet)
    inside = (
        f"Widened, because {unmet} is not known to be as it was there."
        if unmet
        else "Its conditions hold here."
    )
    says = f"{hoped.says} {inside}"
    yield Reason(f"quality-{hoped.row}", says, hoped.source, sure=not unmet)


def _base(option: Option, row: Standing | None) -> Iterator[Reason]:
    """Why this base model: what it is, and where it stands among those that fit."""
    if row is None or option.model is None or "scratch" in option.stack:
        return
    model = models.find(option.model)
    languages = ", ".join(model.languages[:4]) + (" and more" if len(model.languages) > 4 else "")
    says = (
        f"Of the {model.kind}s that fit {option.hardware}, {model.id} stands best: "
        f"{row.metric} {row.score:g}, {model.licence}, {languages}."
    )
    yield Reason("base-model", says, row.source)


def _results(found: Measured | None) -> Iterator[Reason]:
    if found is not None:
        yield Reason("measured", found.says(), found.source)
