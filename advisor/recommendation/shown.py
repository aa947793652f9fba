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
from advisor.recommendation.overruling import of_way
from advisor.recommendation.ranking import Ranking
from advisor.recommendation.reasons import reasons
from advisor.recommendation.records import Because, Excluded, Ranked, Reason
from advisor.recommendation.words import said
from knowledge import models, quality, rules, standings
from knowledge.quantities import Range
from knowledge.rules import TRAINING
from knowledge.standings import Standing

LARGEST = 0.87  # of MMLU, about what the hosted models of the findings reached
SHARED = 0.5  # of a lead there [log-odds] that shows on another task; the project's own judgement
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
        against: tuple[str, ...] = _barring({**known, "base_fits": False})
        best: tuple[float, Option, Estimate | None] | None = None
        for option in carried(way, profile):
            if best is not None and option.model != best[1].model:
                break
            figures = estimated(option)
            against = _barring({**known, **_option_facts(option, figures, profile)})
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


def _option_facts(option: Option, figures: Estimate | None, profile: Profile) -> dict[str, Any]:
    """What an estimate tells the rules: whether the base fits, and whether it can be paid."""
    told: dict[str, Any] = {"base_fits": None if figures is None else figures.fits}
    usd = None if figures is None else figures.money.once
    # The user's own machine costs no money but its current, whatever the budget for training.
    own = facts(profile).get("training_place") == "own" or option.job.get("gpu") == "cpu"
    trains = bool(set(option.stack) & set(TRAINING))
    if usd is not None and profile.train_budget_usd is not None and trains and not own:
        told["within_budget"] = usd.low <= profile.train_budget_usd
    return told


def _barring(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The vetoes that read an estimate and fire."""
    return tuple(
        rule.id
        for rule in rules.table().values()
        if rule.kind == "veto" and rule.facts() & {"base_fits", "within_budget"}
        if rule.fires(told)
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
    row = standings.find(option.model or "", option.benchmark) if open_base else None
    found, hoped = of_way(way, measured), _hoped(way, ranking)
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
        quality=found.range if found else _with_base(hoped.range, row, way) if hoped else None,
        estimate=figures,
        reasons=(*_results(found), *reasons(way, ranking, known), *_base(option, row)),
        quality_metric=found.metric if found else hoped.row.metric if hoped else None,
        quality_source=found.source if found else hoped.row.cited() if hoped else None,
        measured=found is not None,
        over_volume=over_volume(option, figures),
        architecture=models.find(option.model).kind if open_base else None,
    )


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


def _with_base(hoped: Range, row: Standing | None, way: Way) -> Range:
    """What to expect of a smaller model where nothing trains it: findings are of the largest."""
    if row is None or row.metric != "MMLU" or set(way.stack) & set(TRAINING):
        return hoped
    return quality.shifted(hoped, min(0.0, quality.apart(row.score / 100, LARGEST) * SHARED))


def _hoped(way: Way, ranking: Ranking) -> quality.Expected | None:
    """What findings let expect in the likeliest world."""
    return quality.expected(way.stack, ranking.worlds[0].facts) if ranking.worlds else None


def _results(found: Measured | None) -> Iterator[Reason]:
    if found is not None:
        yield Reason("measured", found.says(), found.source)
