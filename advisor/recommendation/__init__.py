"""The recommendation: from a profile to ranked options with reasons, exclusions and flips.

The order is always the same and visible: what is possible, what vetoes bar, what must be in,
expected quality with cost, time and risk (the rules' points), and a ranking under uncertainty.
Estimates are made only for the options shown.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from advisor.estimates.breakeven import Crossing, crossing
from advisor.facts import facts
from advisor.measured import Measured
from advisor.options import Way, options
from advisor.profile import Profile
from advisor.recommendation.flips import first as leading
from advisor.recommendation.flips import flips, settle
from advisor.recommendation.front import front
from advisor.recommendation.ranking import Ranking, ranked
from advisor.recommendation.reasons import LIKELY, cautions, excluded, shares
from advisor.recommendation.records import Ranked, Recommendation, Verdict
from advisor.recommendation.shown import Shown, left_out, shown
from advisor.recommendation.stages import stages
from advisor.recommendation.words import listed, said
from knowledge import prices, rules

__all__ = ["first_place", "recommend"]

WIDE = 12  # options estimated, so that the front of quality and cost is more than what is shown


def recommend(profile: Profile, top: int = 5, measured: Sequence[Measured] = ()) -> Recommendation:
    """The advice for a profile, however much of it is known.

    Args:
        top: options to show.
        measured: what was measured on the user's own task, which overrules expected quality.
    Raises:
        UserError: the hardware names a GPU that the catalogue does not have.
    """
    ranking, view = _settled(profile, max(top, WIDE), measured)
    known, answers = facts(profile), profile.answers()
    first, every = ranking.first, options(profile)
    verdict, says = _verdict(ranking, known, answers)
    lead = partial(leading, without=frozenset(view.out), measured=measured)
    found = () if first is None else flips(answers, first, lead)
    return Recommendation(
        verdict=verdict,
        says=says,
        stack=() if first is None else first.stack,
        delivery="" if first is None else first.delivery,
        options=view.options[:top],
        excluded=(*excluded(ranking, known), *left_out(view, known)),
        flips=found,
        confidence=round(ranking.confidence, 3),
        stages=stages(profile, view.options[:top]),
        questions_left=tuple(flip.key for flip in found if flip.key not in answers),
        cautions=cautions(ranking, known),
        prices_as_of=prices.snapshot(),
        runner_up=next((o.id for o in view.options if o.stack != view.options[0].stack), None),
        pareto=front(view.options),
        break_even=_break_even(view.options[:top]),
        answers=answers,
        bases=tuple(sorted({option.model for option in every if option.model})),
        considered=len(every),
    )


def _break_even(options: Sequence[Ranked]) -> tuple[Crossing, ...]:
    """Where the first place and another option change order by cost; none for the same line."""
    priced = [option.over_volume for option in options if option.over_volume is not None]
    if not priced or priced[0] is not options[0].over_volume:
        return ()
    pairs = (crossing(priced[0], other) for other in priced[1:])
    return tuple(pair for pair in pairs if pair.requests is not None)


def first_place(profile: Profile) -> tuple[Way | None, float]:
    """The first place and the confidence in it, without flips, stages or further options."""
    ranking, _ = _settled(profile, 1, ())
    return ranking.first, ranking.confidence


def _settled(profile: Profile, top: int, measured: Sequence[Measured]) -> tuple[Ranking, Shown]:
    """The ranking once no estimate rules out its first place, with the options shown."""
    answers = profile.answers()
    view = Shown((), {})
    while True:
        ranking = ranked(answers, without=frozenset(view.out), measured=measured)
        view = shown(profile, ranking, top, view.out, measured)
        if ranking.first not in view.out:
            return ranking, view


def _verdict(
    ranking: Ranking, known: Mapping[str, Any], answers: Mapping[str, Any]
) -> tuple[Verdict, str]:
    """Whether to build, and the sentence that says so."""
    fired = shares(ranking)
    for rule in rules.table().values():
        if rule.verdict is not None and fired.get(rule.id, 0.0) > LIKELY:
            return rule.verdict, said(rule.says, known)
    if ranking.first is not None:
        way = ranking.first
        return "build", f"Take {listed(way.stack)} first, {way.delivery}."
    nearest = settle(answers)
    if nearest is None:
        return "wait", "Nothing is possible with these answers, nor with any one of them changed."
    return "wait", (
        f"Nothing is possible with these answers; the nearest possible thing is "
        f"{listed(nearest.first.stack)}, if {nearest.condition}."
    )
