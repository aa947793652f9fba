"""Steps that ask a model as it is."""

from typing import Any

from advisor.profile import Profile
from advisor.recommendation.records import Ranked
from advisor.steps import needed
from backends.base import Data, Step
from knowledge import methods, prices

SHOTS, HELD_OUT = 8, 200  # examples in a message; items asked for a first figure


def prompter(profile: Profile, option: Ranked, row: methods.Method) -> Step:
    """A step that asks a model behind an endpoint about held-out examples."""
    data = Data(
        train=needed(profile, "data", "a file of examples to measure on"), test=profile.test_data
    )
    settings: dict[str, Any] = {"shots": SHOTS, "limit": HELD_OUT}
    if profile.task_type is not None:
        settings["task"] = profile.task_type
    if option.delivery == "self-hosted":  # a server of the user's own asks for no money
        settings |= {"usd_per_1m_input": 0.0, "usd_per_1m_output": 0.0}
    else:
        price = prices.find_api(option.model or "")
        if price.priced:
            settings |= {"usd_per_1m_input": price.input, "usd_per_1m_output": price.output}
    return Step("prompt", row.id, option.model, data=data, settings=settings)
