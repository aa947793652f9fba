"""What is possible at all: approach stack, base model, delivery and hardware; no opinion."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from advisor.bases import CPU, Place, bases, benchmark, has_gpus, places
from advisor.profile import Profile
from knowledge import models
from knowledge.rules import TRAINING
from knowledge.standings import Metric


class Way(NamedTuple):
    """An approach stack, the primary first, and how it is delivered."""

    stack: tuple[str, ...]
    delivery: str


class Option(msgspec.Struct, frozen=True):
    """A possible way with its base model and hardware; `job` is what an estimate is asked.

    `job` is the option's largest piece of work: the training of its primary approach, or the
    requests where nothing is trained. `serving` is a job that answers with what was trained; None
    where `job` answers already, or nothing is said about it. `benchmark` is what base models for
    it are compared by.
    """

    id: str
    stack: tuple[str, ...]
    methods: tuple[str, ...]
    model: str | None
    delivery: str
    hardware: str
    job: dict[str, Any]
    serving: dict[str, Any] | None = None
    benchmark: Metric = "MMLU"


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
HORIZON_MONTHS = 12.0  # over which costs are counted where the profile says nothing
PASSAGES_TOKENS = 1000  # of retrieved passages in a prompt: five of 200, as `rag` estimates


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
    """The options of one way: the base models, best standing first, each in every place."""
    seen: dict[tuple[str | None, Place], None] = {}
    for where in places(way.stack, way.delivery, profile):
        found: list[str | None] = [*bases(way.stack, way.delivery, where, profile)]
        if not found and profile.task_type == "predict-sequence" and "scratch" not in way.stack:
            found = [None]  # a public model of the field, which the catalogue does not list
        seen |= dict.fromkeys((model, where) for model in found)
    order = {model: number for number, model in enumerate(dict.fromkeys(m for m, _ in seen))}
    usual = places(way.stack, way.delivery, profile)[0]
    for model, where in sorted(seen, key=lambda pair: order[pair[0]]):
        parts = ["-".join(way.stack), model or "field-model", way.delivery]
        if where != usual:
            parts.append((where.gpu or "").lower())
        yield Option(
            id=":".join(parts),
            stack=way.stack,
            methods=methods(way.stack, profile),
            model=model,
            delivery=way.delivery,
            hardware=str(where),
            job=_job(way, model, where, profile),
            serving=_serving(way, model, where, profile),
            benchmark=benchmark(way.stack, where, profile),
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
    if where.gpu is not None and where.gpu != "cpu":
        job |= _own(profile)
    return {key: value for key, value in job.items() if value is not None}


def _serving(way: Way, model: str | None, where: Place, profile: Profile) -> dict[str, Any] | None:
    """The job of answering with what was trained, on one GPU of the place."""
    if model is None or not set(way.stack) & set(TRAINING):
        return None
    if where.gpu is None:
        return {"model": model, "method": "prompt", **_answers(way, profile)}
    if where.gpu == CPU:
        return None  # the user's own processor costs nothing that is known
    return _asked(model, Place(where.gpu, 1), _answers(way, profile)) | _own(profile)


def _asked(model: str | None, where: Place, answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "method": "inference",
        "gpu": where.gpu,
        "n_gpus": where.n_gpus,
        "micro_batch": 1,
        "seq_len": answers["tokens_in"],
        "new_tokens": answers["tokens_out"],
        **answers,
    }


def _own(profile: Profile) -> dict[str, Any]:
    """What marks a job as run on hardware of one's own."""
    return {"owned": True} if has_gpus(profile) else {}


def _answers(way: Way, profile: Profile) -> dict[str, Any]:
    """The requests that are answered, over the horizon."""
    read = PASSAGES_TOKENS if "rag" in way.stack else 0
    return {
        "requests": REQUESTS if profile.volume_per_month is None else profile.volume_per_month,
        "tokens_in": (profile.tokens_in or TOKENS_IN) + read,
        "tokens_out": profile.tokens_out or TOKENS_OUT,
        "months": profile.horizon_months or HORIZON_MONTHS,
    }


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
    """What answering takes: tokens at a price, or GPUs that are kept for it."""
    answers = _answers(way, profile)
    if where.gpu is not None and (where.gpu != CPU or "rag" not in way.stack):
        return _asked(model, where, answers) | ({} if where.gpu == CPU else _own(profile))
    if "rag" not in way.stack:
        return {"model": model, "method": "prompt", **answers}
    job = {"model": model, "method": "rag", "gpu": where.gpu, **answers}
    job |= {"tokens_in": profile.tokens_in or TOKENS_IN,  # the estimate adds the passages
            "corpus_tokens": profile.unlabelled_tokens}  # fmt: skip
    return {key: value for key, value in job.items() if value is not None}
