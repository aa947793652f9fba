"""Asking a model behind an OpenAI-compatible endpoint: templates, examples, answers kept.

Light at import; the endpoint's address and key come from the environment when a step runs.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from backends.base import Backend

Count = Annotated[int, Meta(ge=1)]
Price = Annotated[float, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a step asks. Prices are written by the plan; None is unknown, 0 is free."""

    instruction: Annotated[
        str | None, Meta(description="what to do, in words; none: that of the kind of data")
    ] = None
    system: Annotated[str | None, Meta(description="system message before everything")] = None
    template: Annotated[
        str | None,
        Meta(
            description="jinja2 template of the message, with text, instruction, labels, "
            "definitions, examples; none: that of the kind of data"
        ),
    ] = None
    labels: Annotated[
        tuple[str, ...] | None, Meta(description="the label set; none: the labels of the data")
    ] = None
    definitions: Annotated[
        dict[str, str], Meta(description="what labels mean, shown beside them")
    ] = {}
    shots: Annotated[
        int, Meta(ge=0, le=256, description="examples from the training data in each message")
    ] = 0
    choice: Annotated[
        Literal["balanced", "fixed"],
        Meta(description="examples drawn label by label, or from all rows alike; by the seed"),
    ] = "balanced"
    repair: Annotated[
        bool, Meta(description="ask once more where an answer is outside the label set")
    ] = True
    temperature: Annotated[float, Meta(ge=0, le=2, description="0 for the likeliest answer")] = 0.0
    max_tokens: Annotated[
        Count | None, Meta(description="longest answer [tokens]; none: by the longest label")
    ] = None
    limit: Annotated[
        Count | None, Meta(description="ask only so many items of the test data, drawn by the seed")
    ] = None
    test_share: Annotated[
        float, Meta(gt=0, lt=1, description="share of the training data asked without test data")
    ] = 0.2
    concurrency: Annotated[int, Meta(ge=1, le=512, description="requests at a time")] = 8
    timeout_s: Annotated[float, Meta(gt=0, le=3600, description="longest wait for one answer")] = 60
    retries: Annotated[int, Meta(ge=0, le=20, description="more attempts after a fault")] = 6
    backoff_s: Annotated[
        float, Meta(ge=0, le=60, description="wait before the second attempt; then doubled")
    ] = 0.5
    usd_per_1m_input: Annotated[Price | None, Meta(description="price of what is sent")] = None
    usd_per_1m_output: Annotated[Price | None, Meta(description="price of what is answered")] = None
    usd_per_1m_cached: Annotated[
        Price | None, Meta(description="price of sent tokens found in the provider's cache")
    ] = None


BACKEND = Backend(
    name="prompting",
    module="backends.prompting.job",
    settings=Settings,
    aliases={
        "max_completion_tokens": "max_tokens",
        "max_new_tokens": "max_tokens",
        "n_shots": "shots",
        "num_fewshot": "shots",
        "system_prompt": "system",
        "prompt_template": "template",
        "max_retries": "retries",
        "timeout": "timeout_s",
    },
    needs=("openai",),
)

__all__ = ["BACKEND", "Settings"]
