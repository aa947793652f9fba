"""What is possible at all: approach stack, base model, delivery and hardware; no opinion."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from advisor.bases import Place, bases, place
from advisor.profile import Profile
from knowledge import models
from knowledge.rules import TRAINING


class Way(NamedTuple):
    """An approach stack, the primary first, and how it is delivered."""

    stack: tuple[str, ...]
    delivery: str


class Option(msgspec.Struct, frozen=True):
    """A possible way with its base model and hardware; `job` is what an estimate is asked.

    `job` is the option's largest piece of work: the training of its primary approach, or a month
    of requests where nothing is trained.
    """

    id: str
    stack: tuple[str, ...]
    methods: tuple[str, ...]
    model: str | None
    delivery: str
    hardware: str
    job: dict[str, Any]


# Every stack that makes sense, the primary first. What is pretrained on raw text is tuned
# afterwards where there are examples; retrieval may feed whatever generates.
STACKS: tuple[tuple[str, ...], ...] = (
    ("prompt",),
    ("rag", "prompt"),
    ("rag", "lora"),
    ("rag", "qlora"),
    ("rag", "full-ft"),
    ("head-ft",),
    ("lora",),
    ("qlora",),
    ("full-ft",),
    ("adapters",),
    ("soft-prompt",),
    ("lora", "rag"),
    ("qlora", "rag"),
    ("full-ft", "rag"),
    ("cpt",),
    ("cpt", "rag"),
    ("cpt", "head-ft"),
    ("cpt", "lora"),
    ("cpt", "full-ft"),
    ("cpt", "lora", "rag"),
    ("cpt", "full-ft", "rag"),
    ("cpt", "lora", "dpo"),
    ("cpt", "full-ft", "dpo"),
    ("cpt", "full-ft", "ppo"),
    ("dpo",),
    ("dpo", "lora"),
    ("dpo", "qlora"),
    ("dpo", "full-ft"),
    ("ppo",),
    ("ppo", "lora"),
    ("ppo", "full-ft"),
    ("ppo", "rag"),
    ("scratch",),
    ("scratch", "head-ft"),
    ("scratch", "full-ft"),
    ("scratch", "full-ft", "dpo"),
)
HOSTED = {"prompt", "rag"}  # what a hosted model can be used for without training it
HOSTED_TUNING = {"lora", "dpo", "ppo", "rag", "prompt"}  # what vendors tune for you
ORDER = ("scratch", "cpt", "full-ft", "lora", "qlora", "adapters", "soft-prompt", "head-ft",
         "dpo", "ppo", "rag", "prompt")  # fmt: skip
# Rows from which tuning the whole encoder paid beside a head on its frozen embeddings: it lost
# 5 points on the packaged sample's 449 rows and won 0.3 to 0.7 on Banking77's 10,003, neither
# surely above zero (README): the run says by itself what the extra minutes bought.
TUNE_ALL_FROM = 2000
ENCODER_EPOCHS = 4.0
REQUESTS, TOKENS_IN, TOKENS_OUT, EPOCHS = 10_000, 400, 150, 3.0  # where the profile says nothing
SHORTEST, LONGEST = 128, 4096


def deliveries(stack: tuple[str, ...]) -> tuple[str, ...]:
    """The ways in which a stack can be delivered."""
    parts = set(stack)
    if parts <= HOSTED:
        return ("api", "self-hosted")
    if parts <= HOSTED_TUNING:
        return ("hosted-ft", "self-hosted")
    return ("self-hosted",)


def options(profile: Profile) -> list[Option]:
    """Every stack x delivery x base model x hardware that is possible, unestimated."""
    return [
        option
        for stack in STACKS
        for delivery in deliveries(stack)
        for option in carried(Way(stack, delivery), profile)
    ]


def carried(way: Way, profile: Profile) -> Iterator[Option]:
    """The options of one way, the preferred base model first; none where no base fits."""
    where = place(way.stack, way.delivery, profile)
    catalogued: list[str | None] = [*bases(way.stack, way.delivery, where, profile)]
    if not catalogued and profile.task_type == "predict-sequence":
        catalogued = [None]  # a public model of the field, which the catalogue does not list
    for model in catalogued:
        name = "-".join(way.stack)
        short = f"{name}:{model or 'field-model'}:{way.delivery}"
        yield Option(
            id=short,
            stack=way.stack,
            methods=methods(way.stack, profile),
            model=model,
            delivery=way.delivery,
            hardware=str(where),
            job=_job(way, model, where, profile),
        )


def methods(stack: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    """The methods of a stack in the order in which they run."""
    if profile.verifiable_reward is False:
        reward: tuple[str, ...] = ("reward-model", "ppo")
    else:
        reward = ("grpo",)
    of = {"adapters": ("adapter-sequential",), "ppo": reward}
    return tuple(
        method for part in sorted(stack, key=ORDER.index) for method in of.get(part, (part,))
    )


def _job(way: Way, model: str | None, where: Place, profile: Profile) -> dict[str, Any]:
    trained = [part for part in way.stack if part in TRAINING]
    if not trained:
        return _requests(way, model, where, profile)
    method = methods((trained[0],), profile)[-1]
    job: dict[str, Any] = {"model": model, "method": method, **_work(trained[0], model, profile)}
    if where.gpu is not None:
        job |= {"gpu": where.gpu, "n_gpus": where.n_gpus, "checkpointing": "full"}
        if where.n_gpus > 1:
            job["sharding"] = "fsdp" if trained[0] in ("full-ft", "cpt", "scratch") else "ddp"
    if method == "head-ft":
        part = part_to_train(profile.labelled_examples)
        job |= {"train": part, "classes": max(profile.n_classes or 2, 2)}
        job["epochs"] = 1.0 if part == "head" else ENCODER_EPOCHS
    return {key: value for key, value in job.items() if value is not None}


def part_to_train(examples: int | None) -> Literal["head", "all"]:
    """What of an encoder is trained on so many examples; a frozen one reads each text once."""
    return "all" if examples is not None and examples >= TUNE_ALL_FROM else "head"


def _work(approach: str, model: str | None, profile: Profile) -> dict[str, Any]:
    """How much is trained on, as far as it is known."""
    row = models.table().get(model or "")
    longest = LONGEST if row is None else min(LONGEST, row.context)
    if approach in ("cpt", "scratch"):
        return {"seq_len": longest, "micro_batch": 1, "tokens": profile.unlabelled_tokens}
    length = (profile.tokens_in or TOKENS_IN) + (profile.tokens_out or TOKENS_OUT)
    examples = profile.preference_pairs if approach == "dpo" else profile.labelled_examples
    return {
        "micro_batch": 1,
        "seq_len": min(longest, max(SHORTEST, 2 * length)),
        "seq_len_is": "cap",
        "tokens_per_example": length,
        "epochs": EPOCHS,
        "examples": examples,
    }


def _requests(way: Way, model: str | None, where: Place, profile: Profile) -> dict[str, Any]:
    rag = "rag" in way.stack
    job: dict[str, Any] = {
        "model": model,
        "method": "rag" if rag else "prompt",
        "requests": REQUESTS if profile.volume_per_month is None else profile.volume_per_month,
        "tokens_in": profile.tokens_in or TOKENS_IN,
        "tokens_out": profile.tokens_out or TOKENS_OUT,
        "corpus_tokens": profile.unlabelled_tokens if rag else None,
    }
    if where.gpu is not None:
        job |= {"gpu": where.gpu, "n_gpus": where.n_gpus}
    return {key: value for key, value in job.items() if value is not None}
