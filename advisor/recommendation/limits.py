"""What an option's own estimate rules out: a base that does not fit, a cost beyond the budget."""

from collections.abc import Mapping
from typing import Any

from advisor.estimates.records import Estimate
from advisor.facts import facts
from advisor.options import Option
from advisor.profile import Profile
from knowledge import rules
from knowledge.rules import TRAINING


def option_facts(option: Option, figures: Estimate | None, profile: Profile) -> dict[str, Any]:
    """What an estimate tells the rules: whether the base fits, and whether it can be paid."""
    told: dict[str, Any] = {"base_fits": None if figures is None else figures.fits}
    usd = None if figures is None else figures.money.once
    # The user's own machine costs no money but its current, whatever the budget for training.
    own = facts(profile).get("training_place") == "own" or option.job.get("gpu") == "cpu"
    trains = bool(set(option.stack) & set(TRAINING))
    if usd is not None and profile.train_budget_usd is not None and trains and not own:
        told["within_budget"] = usd.low <= profile.train_budget_usd
    return told


def barred(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The vetoes that read an estimate and fire."""
    return tuple(
        rule.id
        for rule in rules.table().values()
        if rule.kind == "veto" and rule.facts() & {"base_fits", "within_budget"}
        if rule.fires(told)
    )
