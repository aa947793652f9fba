"""Costs over the horizon, the front of quality and cost, break-even, stages with their commands."""

from pathlib import Path

import pytest

from advisor.options import Way, carried, options
from advisor.profile import settled
from advisor.recommendation import recommend
from advisor.recommendation.costing import figures
from advisor.recommendation.expected import expected, standing
from advisor.recommendation.ranking import ranked
from advisor.recommendation.stages import naming
from knowledge.errors import UserError

TASK = {"task_type": "assistant", "gap": "behaviour", "labelled_examples": 5000,
        "privacy": "private-cloud", "hardware": "none", "expertise": "ml",
        "train_budget_usd": 500, "tried": "prompt-insufficient",
        "volume_per_month": 400_000}  # fmt: skip


def test_a_bill_has_training_once_and_requests_every_month() -> None:
    for months in (6, 12):
        profile = settled(TASK | {"horizon_months": months})
        option = next(iter(carried(Way(("lora",), "self-hosted"), profile)))
        found = figures(option)
        assert found is not None
        money = found.money
        assert money.once is not None and money.monthly is not None and money.usd is not None
        assert money.usd.mid == pytest.approx(money.once.mid + months * money.monthly.mid)
        assert money.months == months


def test_what_cannot_be_served_on_its_card_does_not_fit() -> None:
    profile = settled(TASK | {"hardware": "1x16GB"})
    for option in carried(Way(("qlora",), "self-hosted"), profile):
        found = figures(option)
        if found is not None and option.model == "qwen3-8b":  # trains in 4 bits, serves in 16
            assert found.fits is False
    first = next(o for o in recommend(profile, top=12).options if o.stack == ("qlora",))
    assert first.model != "qwen3-8b"


def test_nothing_of_the_catalogue_beats_a_point_of_the_front_in_both() -> None:
    profile = settled(TASK)
    advice, ranking = recommend(profile), ranked(profile.answers())
    assert advice.pareto
    assert advice.considered == len(options(profile)) > 500
    costs = [point.usd.mid for point in advice.pareto]
    assert costs == sorted(costs)
    checked = 0
    for option in options(profile):
        made, hoped = figures(option), expected(option, ranking, ())
        if (
            made is None or hoped is None or made.money.usd is None or made.fits is False
            or Way(option.stack, option.delivery) not in ranking.chances
            or (option.delivery == "self-hosted" and standing(option) is None)
            or (made.money.once is not None and made.money.once.low > 500)
        ):  # fmt: skip
            continue
        checked += 1
        for point in advice.pareto:
            beaten = hoped.range.mid > point.quality.mid and made.money.usd.mid < point.usd.mid
            assert not (beaten and hoped.metric == point.metric), (option.id, point.id)
    assert checked > 300


def test_the_runner_up_is_another_stack() -> None:
    advice = recommend(settled(TASK))
    other = next(option for option in advice.options if option.id == advice.runner_up)
    assert other.stack != advice.stack
    assert 0 < other.probability < 1
    assert sum(option.probability for option in advice.options) < 1


def test_at_the_break_even_both_cost_the_same() -> None:
    advice = recommend(settled(TASK))
    costs = {option.id: option.over_volume for option in advice.options}
    assert advice.break_even
    for pair in advice.break_even:
        below, above = costs[pair.cheaper_below], costs[pair.cheaper_above]
        assert below is not None and above is not None and pair.requests is not None
        assert below.mid.usd(0.9 * pair.requests) < above.mid.usd(0.9 * pair.requests)
        assert below.mid.usd(1.1 * pair.requests) > above.mid.usd(1.1 * pair.requests)


def test_each_stage_has_a_rule_a_budget_and_a_command_that_names_the_profile() -> None:
    profile = settled(TASK)
    advice = naming(recommend(profile), Path("my task.yaml"))
    assert len(advice.stages) >= 2
    for number, stage in enumerate(advice.stages):
        assert stage.stop_if
        assert stage.budget_usd is not None and stage.budget_usd <= 500
        assert "'my task.yaml'" in stage.command
        if stage.option is not None:
            assert f"--option {stage.option} --out stage-{number}.yaml" in stage.command
    assert any(stage.option == advice.options[0].id for stage in advice.stages)


def test_a_weaker_base_promises_less_where_nothing_trains_it() -> None:
    facts = {"task_type": "qa", "gap": "facts", "unlabelled_tokens": 10**7, "citations": True}
    hosted = recommend(settled(facts | {"privacy": "api-ok", "hardware": "none"})).options[0]
    here = recommend(settled(facts | {"privacy": "on-prem", "hardware": "none"})).options[0]
    assert hosted.quality is not None and here.quality is not None
    assert here.quality.mid < hosted.quality.mid
    assert here.architecture == "decoder"


def test_personal_data_is_a_caution() -> None:
    advice = recommend(settled(TASK | {"personal_data": 12}))
    assert any(reason.rule == "personal-data" and "12 texts" in reason.says
               for reason in advice.cautions)  # fmt: skip


def test_a_wished_model_is_taken_where_it_fits_and_else_told_off_with_the_nearest() -> None:
    here = TASK | {"privacy": "on-prem", "hardware": "1x24GB", "base_model": "llama-3.2-3b"}
    taken = recommend(settled(here))
    assert taken.options[0].model == "llama-3.2-3b"
    wish = {"privacy": "on-device", "hardware": "1x24GB", "base_model": "llama-3.1-70b"}
    advice = recommend(settled(TASK | wish))
    (told,) = [reason for reason in advice.cautions if reason.rule == "wished-model"]
    assert "llama-3.1-70b" in told.says and str(advice.options[0].model) in told.says
    with pytest.raises(UserError, match="no model 'lama-70'"):
        recommend(settled(TASK | {"base_model": "lama-70"}))


def test_points_are_shown_by_what_they_are_about_and_add_up() -> None:
    for option in recommend(settled(TASK)).options:
        assert set(option.points) == {"quality", "cost", "time", "risk"}
        assert sum(option.points.values()) == pytest.approx(option.score, abs=0.05)
