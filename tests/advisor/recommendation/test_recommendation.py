"""The recommendation: what never happens, whatever the profile."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.facts import facts
from advisor.options import Way
from advisor.profile import KEYS, Profile, choices, settled
from advisor.recommendation import first_place, recommend
from advisor.recommendation.flips import KEYS as FLIPPED
from advisor.recommendation.flips import LADDERS, first
from advisor.recommendation.judgement import bars
from advisor.recommendation.ranking import ranked
from advisor.recommendation.words import plain, said
from knowledge import quality, rules

PRIVACY = ("api-ok", "private-cloud", "on-prem", "on-device")
TUNED = {*rules.TUNING, "head-ft", "soft-prompt"}


def answers(complete: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        key: st.sampled_from(LADDERS[key] if key in LADDERS else choices(key)) for key in FLIPPED
    }
    if complete:
        return st.fixed_dictionaries(fields)
    return st.fixed_dictionaries({}, optional=fields)


def possible(given_: dict[str, Any]) -> set[Way]:
    return set(ranked(settled(given_).answers()).chances)


@settings(deadline=None)
@given(answers(), st.sampled_from(range(3)))
def test_stricter_privacy_never_adds_an_api(given_: dict[str, Any], step: int) -> None:
    looser = possible({**given_, "privacy": PRIVACY[step]})
    stricter = possible({**given_, "privacy": PRIVACY[step + 1]})
    hosted = {way for way in stricter if way.delivery != "self-hosted"}
    assert hosted <= looser


@settings(deadline=None)
@given(answers(), st.sampled_from(LADDERS["train_budget_usd"]), st.floats(0, 1))
def test_a_smaller_budget_never_adds_an_option(
    given_: dict[str, Any], budget: float, share: float
) -> None:
    more = possible({**given_, "train_budget_usd": budget})
    less = possible({**given_, "train_budget_usd": budget * share})
    assert less <= more


@settings(deadline=None)
@given(answers(complete=True), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_labels_never_flip_from_tuning_to_prompting(
    given_: dict[str, Any], some: int, further: int
) -> None:
    few = first(settled({**given_, "labelled_examples": some}).answers())
    many = first(settled({**given_, "labelled_examples": some + further}).answers())
    if few is not None and few.stack[0] in TUNED:
        assert many is not None
        assert many.stack[0] != "prompt"


@settings(deadline=None)
@given(answers(complete=True))
def test_what_is_ranked_passes_every_veto_and_holds_what_is_required(
    given_: dict[str, Any],
) -> None:
    profile = settled(given_)
    fired = [rule for rule in rules.table().values() if rule.fires(facts(profile))]
    for way in ranked(profile.answers()).chances:
        assert not any(bars(rule, way) for rule in fired)


@settings(max_examples=12, deadline=None)
@given(answers())
def test_any_profile_gets_an_answer_that_holds_together(given_: dict[str, Any]) -> None:
    advice = recommend(settled(given_), top=3)
    assert 0 <= advice.confidence <= 1
    assert advice.says.endswith(".")
    assert len(advice.options) <= 3
    assert bool(advice.options) == bool(advice.stack) == bool(advice.delivery)
    if advice.options:
        assert advice.options[0].stack == advice.stack
        assert advice.options[0].delivery == advice.delivery
    else:
        assert advice.verdict != "build"
    for option in advice.options:
        assert all(reason.source for reason in option.reasons)
        assert option.estimate is None or option.estimate.fits is not False
    for out in advice.excluded:
        assert out.because, out
    assert msgspec.json.decode(msgspec.json.encode(advice))


def test_the_same_profile_always_gets_the_same_answer() -> None:
    profile = settled({"task_type": "qa", "gap": "facts", "unlabelled_tokens": 10**7})
    assert recommend(profile) == recommend(profile)


def test_nothing_known_is_a_starting_point_with_open_questions() -> None:
    advice = recommend(Profile())
    assert advice.verdict == "build"
    assert advice.stack[0] in ("prompt", "rag")
    assert {"task_type", "gap"} <= set(advice.questions_left)
    assert advice.confidence < 0.9


def test_flips_are_real_and_the_nearest_number_is_an_edge() -> None:
    known = {"task_type": "classify", "gap": "behaviour", "labelled_examples": 100,
             "n_classes": 20, "privacy": "api-ok", "hardware": "none", "expertise": "dev",
             "train_budget_usd": 20, "tried": "nothing", "unlabelled_tokens": 0,
             "volume_per_month": 10_000, "latency": "seconds"}  # fmt: skip
    profile = settled(known)
    advice = recommend(profile)
    assert advice.stack == ("prompt",)
    flip = next(flip for flip in advice.flips if flip.key == "labelled_examples")
    assert flip.then == ("head-ft",)
    assert flip.condition == f"labelled_examples >= {plain(flip.value)}"
    now = Way(advice.stack, advice.delivery)
    for found in advice.flips:
        then = first({**profile.answers(), found.key: found.value})
        assert then == Way(found.then, found.delivery) != now
    closer = first({**profile.answers(), "labelled_examples": round(flip.value * 0.95)})
    assert closer == now


@pytest.mark.parametrize(
    ("wish", "verdict"),
    [
        ({"task_type": "predict-sequence", "privacy": "on-prem", "hardware": "none",
          "labelled_examples": 0, "unlabelled_tokens": 0}, "reuse"),
        ({"task_type": "generate", "gap": "behaviour", "labelled_examples": 10,
          "tried": "prompt-insufficient"}, "labels-first"),
        ({"task_type": "assistant", "gap": "preference", "preference_pairs": 3}, "labels-first"),
        ({"task_type": "classify", "n_classes": 1, "labelled_examples": 500}, "no-model"),
        ({"task_type": "sql", "volume_per_month": 5, "labelled_examples": 0}, "no-model"),
    ],
)  # fmt: skip
def test_it_may_say_no(wish: dict[str, Any], verdict: str) -> None:
    advice = recommend(settled(wish))
    assert advice.verdict == verdict
    assert advice.says


def test_an_impossible_wish_is_told_the_nearest_possible_thing() -> None:
    advice = recommend(
        settled({"task_type": "predict-sequence", "privacy": "on-prem", "hardware": "none",
                 "labelled_examples": 0, "unlabelled_tokens": 5 * 10**9,
                 "domain_distance": "non-text", "gap": "language", "expertise": "dev",
                 "train_budget_usd": 0, "preference_pairs": 0, "verifiable_reward": False})
    )  # fmt: skip
    assert advice.verdict == "wait"
    assert advice.options == ()
    assert advice.stack == ()
    assert "nearest possible thing" in advice.says
    assert {out.stack[0] for out in advice.excluded} == set(rules.APPROACHES)


def test_contradictory_answers_are_answered() -> None:
    advice = recommend(
        settled({"task_type": "classify", "domain_distance": "non-text", "gap": "facts",
                 "citations": True, "privacy": "on-device", "hardware": "cluster",
                 "tried": "rag-insufficient", "n_classes": 100_000, "labelled_examples": 0})
    )  # fmt: skip
    assert advice.stack == () or advice.options[0].delivery == "self-hosted"


def test_reasons_that_rest_on_an_open_question_say_so() -> None:
    advice = recommend(settled({"task_type": "classify", "labelled_examples": 5000}))
    unsure = [reason for reason in advice.options[0].reasons if not reason.sure]
    assert unsure
    assert all(
        reason.says.startswith("Likely, but ") or "Widened, because" in reason.says
        for reason in unsure
    )
    assert any("n_classes is open" in reason.says for reason in unsure)


def test_each_reason_is_a_rule_with_its_source() -> None:
    advice = recommend(settled({"task_type": "qa", "gap": "facts", "citations": True,
                                "unlabelled_tokens": 10**7, "privacy": "api-ok"}))  # fmt: skip
    option = advice.options[0]
    assert option.stack[0] == "rag"
    named = {reason.rule: reason for reason in option.reasons}
    assert "sources-are-retrieved" in named
    assert "https://arxiv.org/abs/2403.01432" in named["facts-belong-in-the-context"].source
    findings = {name for name in named if name.startswith("quality-")}
    assert set(named) - findings <= set(rules.table())
    assert {name.removeprefix("quality-") for name in findings} <= set(quality.table())


def test_stage_0_is_a_baseline_with_an_evaluation_set_and_a_stop_rule() -> None:
    advice = recommend(settled({"task_type": "classify", "gap": "behaviour", "n_classes": 8,
                                "labelled_examples": 5000, "error_cost": "high",
                                "target_quality": 0.9, "privacy": "api-ok"}))  # fmt: skip
    baseline, *later = advice.stages
    assert "Set 400 examples aside" in baseline.do
    assert "90%" in baseline.stop_if
    assert later[-1].option == advice.options[0].id
    assert all(stage.stop_if for stage in advice.stages)


def test_the_cheap_path_agrees_with_the_whole() -> None:
    profile = settled({"task_type": "extract", "gap": "behaviour", "labelled_examples": 5000})
    way, sure = first_place(profile)
    advice = recommend(profile)
    assert way == Way(advice.stack, advice.delivery)
    assert round(sure, 3) == advice.confidence


def test_unknown_figures_are_called_unanswered() -> None:
    assert said("Few examples ({n}).", {}) == "Few examples (not answered)."
    assert said("{n} tokens.", {"n": 2.5e9}) == "2.5 billion tokens."


def test_a_whole_recommendation_is_quick_and_light_from_a_cold_start() -> None:
    code = (
        "import sys, time\n"
        "from advisor.profile import settled\n"
        "from advisor.recommendation import recommend\n"
        "import advisor.questionnaire\n"
        "recommend(settled({'task_type': 'classify', 'labelled_examples': 10003}))\n"
        "print(time.process_time(), *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *names = done.stdout.split()
    heavy = {"click", "rich", "jinja2", "numpy", "torch", "pandas", "transformers", "pyarrow"}
    assert not heavy & {name.split(".")[0] for name in names}
    assert float(seconds) < 2.0


def test_every_key_that_is_tried_is_a_profile_key() -> None:
    assert set(FLIPPED) <= set(KEYS)
    assert set(LADDERS) <= set(FLIPPED)


def test_an_empty_purse_still_trains_on_the_user_s_own_processor() -> None:
    profile = settled(
        {
            "task_type": "classify",
            "gap": "behaviour",
            "labelled_examples": 10003,
            "n_classes": 77,
            "privacy": "on-prem",
            "hardware": "none",
            "train_budget_usd": 0,
        }
    )
    advice = recommend(profile)
    assert advice.stack == ("head-ft",)
    assert advice.options[0].hardware == "cpu"
