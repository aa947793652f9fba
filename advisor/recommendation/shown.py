"""The options shown: each way with the first base model whose estimate fits the means."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from advisor.estimates import estimate, hosted
from advisor.estimates.records import Estimate, Money, MoneyLine
from advisor.facts import facts
from advisor.job import settled
from advisor.measured import Measured
from advisor.options import Option, Way, carried
from advisor.profile import Profile
from advisor.recommendation.overruling import of_way
from advisor.recommendation.ranking import Ranking
from advisor.recommendation.reasons import reasons
from advisor.recommendation.records import Because, Excluded, Ranked, Reason
from advisor.recommendation.words import said
from knowledge import prices, quality, rules
from knowledge.errors import UserError
from knowledge.quantities import around
from knowledge.rules import TRAINING

GUESSED = 1.3  # how far assumed tokens may be off, either way
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
        for option in carried(way, profile):
            figures = _estimate(option)
            against = _barring({**known, **_option_facts(option, figures, profile)})
            if not against:
                options.append(_ranked(option, figures, chance, ranking, known, measured))
                break
        if against:
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
    usd = None if figures is None else figures.money.usd
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
    option: Option,
    figures: Estimate | None,
    chance: float,
    ranking: Ranking,
    known: Mapping[str, Any],
    measured: Sequence[Measured],
) -> Ranked:
    way = Way(option.stack, option.delivery)
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
        quality=found.range if found else hoped.range if hoped else None,
        estimate=figures,
        reasons=(*_results(found), *reasons(way, ranking, known)),
        quality_metric=found.metric if found else hoped.row.metric if hoped else None,
        quality_source=found.source if found else hoped.row.cited() if hoped else None,
        measured=found is not None,
    )


def _hoped(way: Way, ranking: Ranking) -> quality.Expected | None:
    """What findings let expect in the likeliest world."""
    return quality.expected(way.stack, ranking.worlds[0].facts) if ranking.worlds else None


def _results(found: Measured | None) -> Iterator[Reason]:
    if found is not None:
        yield Reason("measured", found.says(), found.source)


def _estimate(option: Option) -> Estimate | None:
    """The estimate of an option's job; None where it cannot be known."""
    if option.delivery == "hosted-ft":
        return hosted_tuning(option)
    try:
        return estimate(settled(option.job))
    except UserError:
        return None


def _assumed(job: Mapping[str, Any], row: prices.ApiPrice) -> Iterator[str]:
    yield f"{job['tokens_per_example']:g} tokens in one example"
    if row.train_status == "remembered":
        yield f"remembered, not read: the price of training {row.id}"


def hosted_tuning(option: Option) -> Estimate | None:
    """What a vendor charges for the training (tokens x epochs x its price), and how long it is."""
    row = prices.find_api(option.model or "")
    job = option.job
    tokens = job.get("examples", 0) * job.get("tokens_per_example", 0) * job.get("epochs", 1)
    if row.train is None or not tokens:
        return None
    usd = around(tokens * row.train / 1e6, GUESSED)
    why = f"{tokens:g} trained tokens x {row.train:g} USD per million"
    line = MoneyLine("hosted training", usd, why, row.source)
    return Estimate(
        id=option.id,
        fits=None,
        memory_gib=None,
        time=hosted.waiting(tokens),
        money=Money(usd, (line,), prices.snapshot("api")),
        energy_kwh=None,
        assumptions=tuple(_assumed(job, row)),
        sources=(row.source,),
    )
