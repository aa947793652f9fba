"""What is possible: stacks that make sense, bases that fit, jobs that the estimator takes."""

import pytest

from advisor.bases import _suits, bases, place
from advisor.job import settled as job
from advisor.options import ORDER, STACKS, Way, carried, deliveries, methods, options
from advisor.profile import Profile, settled
from advisor.recommendation import recommend
from advisor.recommendation.costing import figures
from knowledge import methods as catalogue
from knowledge import models, rules, standings


def test_stacks_are_made_of_the_contracts_words_and_each_stands_once() -> None:
    assert len(set(STACKS)) == len(STACKS)
    assert {part for stack in STACKS for part in stack} == set(rules.APPROACHES) == set(ORDER)
    assert {stack[0] for stack in STACKS} == set(rules.APPROACHES)
    for stack in STACKS:
        assert set(deliveries(stack)) <= set(rules.DELIVERIES)


def test_every_option_names_known_methods_and_a_job_that_is_valid() -> None:
    for hardware in ("none", "1x24GB", "8x80GB", "cluster"):
        for task in ("classify", "qa", "code", "predict-sequence"):
            profile = settled({"task_type": task, "hardware": hardware, "n_classes": 7,
                               "labelled_examples": 5000, "unlabelled_tokens": 10**10,
                               "privacy": "api-ok", "train_budget_usd": 5000})  # fmt: skip
            found = options(profile)
            assert len({option.id for option in found}) == len(found)
            for option in found:
                job(option.job)
                assert all(catalogue.find(name) for name in option.methods)


def test_nothing_known_still_has_options() -> None:
    assert {option.stack for option in options(Profile())} >= {
        ("prompt",),
        ("lora",),
        ("rag", "prompt"),
    }


@pytest.mark.parametrize(
    ("stack", "order"),
    [
        (("dpo", "lora"), ("lora", "dpo")),
        (("cpt", "full-ft", "rag"), ("cpt", "full-ft", "rag")),
        (("rag", "prompt"), ("rag", "prompt")),
        (("adapters",), ("adapter-sequential",)),
    ],
)
def test_methods_come_in_the_order_in_which_they_run(
    stack: tuple[str, ...], order: tuple[str, ...]
) -> None:
    assert methods(stack, Profile()) == order


def test_a_reward_that_cannot_be_checked_needs_a_reward_model() -> None:
    assert methods(("ppo",), settled({"verifiable_reward": True})) == ("grpo",)
    assert methods(("ppo",), settled({"verifiable_reward": False})) == ("reward-model", "ppo")


def test_the_base_fits_the_card_and_the_licence() -> None:
    for hardware, most in (("1x16GB", 7e9), ("1x24GB", 9e9), ("1x80GB", 30e9)):
        profile = settled({"hardware": hardware, "provenance": "open-licence"})
        fitting = [
            option
            for option in carried(Way(("lora",), "self-hosted"), profile)
            if (found := figures(option)) is not None and found.fits
        ]
        assert fitting
        for option in fitting:
            row = models.find(str(option.model))
            assert row.architecture().parameters() <= most
            assert row.licence.lower() in ("apache-2.0", "mit")


def test_task_language_context_and_licence_choose_the_architecture() -> None:
    card = {"hardware": "1x80GB", "labelled_examples": 5000}

    def kinds(stack: tuple[str, ...], **answers: object) -> set[str]:
        found = carried(Way(stack, "self-hosted"), settled({**card, **answers}))
        return {models.find(str(option.model)).kind for option in found}

    assert kinds(("head-ft",), task_type="classify") == {"encoder"}
    assert kinds(("lora",), task_type="assistant") == {"decoder"}
    small = {"task_type": "translate", "hardware": "1x16GB"}
    profile = settled({**card, **small})
    assert "encoder-decoder" in {row.kind for row in models.table().values()
                                 if _suits(row, ("full-ft",), profile)}  # fmt: skip
    german = settled({**card, "language": "de"})
    for name in bases(("lora",), "self-hosted", place(("lora",), "self-hosted", german), german):
        assert {"de", "multilingual"} & set(models.find(name).languages)
    long = settled({**card, "task_type": "classify", "tokens_in": 3000})
    for option in carried(Way(("head-ft",), "self-hosted"), long):
        assert models.find(str(option.model)).context >= 3000


def test_the_best_standing_comes_first_and_rented_cards_are_compared() -> None:
    profile = settled({"task_type": "assistant", "hardware": "none", "privacy": "api-ok",
                       "train_budget_usd": 500, "labelled_examples": 5000})  # fmt: skip
    found = list(carried(Way(("lora",), "self-hosted"), profile))
    assert len({option.hardware for option in found}) > 1
    scores = [
        row.score
        for name in dict.fromkeys(str(option.model) for option in found)
        if (row := standings.find(name, "MMLU")) is not None
    ]
    assert scores == sorted(scores, reverse=True)
    first = next(o for o in recommend(profile, top=20).options if o.delivery == "self-hosted")
    assert first.estimate.money.usd.mid <= min(
        money.usd.mid
        for option in carried(Way(first.stack, "self-hosted"), profile)
        if option.model == first.model and (found_ := figures(option)) is not None
        and found_.fits and (money := found_.money).usd is not None
    )  # fmt: skip


def test_larger_cards_never_get_smaller_bases() -> None:
    sizes = []
    for hardware in ("1x16GB", "1x24GB", "1x48GB", "1x80GB"):
        profile = settled({"hardware": hardware})
        where = place(("prompt",), "self-hosted", profile)
        first = bases(("prompt",), "self-hosted", where, profile)[0]
        sizes.append(models.find(first).architecture().parameters())
    assert sizes == sorted(sizes)


def test_a_classifier_without_a_gpu_trains_on_the_processor() -> None:
    profile = settled({"task_type": "classify", "hardware": "none", "n_classes": 77})
    (option, *_) = carried(Way(("head-ft",), "self-hosted"), profile)
    assert (option.model, option.hardware) == ("all-minilm-l6-v2", "cpu")
    assert option.job["classes"] == 77


def test_a_device_gets_a_small_base() -> None:
    profile = settled({"privacy": "on-device", "hardware": "8x80GB"})
    for option in carried(Way(("lora",), "self-hosted"), profile):
        assert models.find(str(option.model)).architecture().parameters() < 5e9


def test_hosted_options_name_a_hosted_model_and_no_gpu() -> None:
    for option in options(settled({"hardware": "8x80GB"})):
        if option.delivery != "self-hosted":
            assert option.hardware == "hosted"
            assert "gpu" not in option.job


def test_sequences_get_a_model_of_their_field() -> None:
    profile = settled({"task_type": "predict-sequence", "hardware": "1x24GB"})
    (option,) = carried(Way(("head-ft",), "self-hosted"), profile)
    assert option.model is None
    assert option.id == "head-ft:field-model:self-hosted"
