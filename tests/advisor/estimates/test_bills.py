"""Bills derived by hand: hosted tuning, serving, labels, people, ownership, totals, known sums."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.estimates import estimate
from advisor.estimates.cost import bill
from advisor.estimates.records import Estimate, MoneyLine
from advisor.job import settled
from knowledge import constants, prices
from knowledge.errors import UserError
from knowledge.quantities import Range, exactly

GPT3 = {"model_type": "gpt2", "n_embd": 12288, "n_layer": 96, "n_head": 96, "n_positions": 2048,
        "vocab_size": 50257}  # fmt: skip
TUNED = "ft:gpt-4.1-mini-2025-04-14"


def of(**job: Any) -> Estimate:
    return estimate(settled(job))


def lines(answer: Estimate) -> dict[str, MoneyLine]:
    return {line.name: line for line in answer.money.lines}


def usd(answer: Estimate) -> Range:
    assert answer.money.usd is not None
    return answer.money.usd


def test_hosted_tuning_is_trained_tokens_times_their_price() -> None:
    """1,000 examples x 400 tokens x 3 epochs at 5 USD per 1e6, then requests at 0.8 and 3.2."""
    answer = of(model=TUNED, method="lora", examples=1000, tokens_per_example=400, epochs=3,
                requests=10_000, tokens_in=500, tokens_out=100, months=12)  # fmt: skip
    assert lines(answer)["hosted training"].usd == exactly(6.0)
    month = 10_000 * (500 * 0.8 + 100 * 3.2) / 1e6
    assert usd(answer).mid == pytest.approx(6.0 + 12 * month)
    assert answer.time is not None and answer.time.wall_hours is not None
    assert 0 < answer.time.wall_hours.low < answer.time.wall_hours.high
    assert any("remembered" in note for note in answer.assumptions)


def test_hosted_tuning_of_unknown_size_or_price_is_at_least() -> None:
    assert of(model=TUNED, method="lora").money.usd is None
    assert of(model=TUNED, method="lora", requests=10).money.at_least
    assert of(model="openai RFT o4-mini", method="grpo", examples=10).money.at_least


def test_labels_and_people_are_lines_that_can_be_set() -> None:
    answer = of(model=TUNED, method="lora", tokens=1e6, labels=2000, usd_per_label=0.5,
                people_hours=10, usd_per_hour=100)  # fmt: skip
    assert lines(answer)["labelling"].usd == exactly(1000.0)
    assert lines(answer)["people's time"].usd == exactly(1000.0)
    assert usd(answer) == exactly(2005.0)
    usual = lines(of(model=TUNED, method="lora", labels=100))["labelling"].usd
    assert usual == constants.find("label-usd").range.scaled(100)


def test_an_owned_gpu_is_written_off_and_draws_current() -> None:
    job = {"model": "llama-3.2-1b", "method": "lora", "gpu": "rtx-4090", "examples": 1000}
    answer = of(**job, owned=True, gpu_usd=2000, usd_per_kwh=0.3)
    assert answer.time is not None and answer.time.gpu_hours is not None
    assert answer.energy_kwh is not None
    hours = 8766 * constants.find("gpu-life-years").mid * constants.find("gpu-use").mid
    own, current = lines(answer)["own GPUs"].usd, lines(answer)["electricity"].usd
    assert own is not None and current is not None
    assert own.mid == pytest.approx(answer.time.gpu_hours.mid * 2000 / hours)
    assert current.mid == pytest.approx(answer.energy_kwh.mid * 0.3)
    unknown = of(**job, owned=True)
    assert lines(unknown)["own GPUs"].usd is None and unknown.money.at_least


def test_serving_keeps_a_gpu_all_month() -> None:
    answer = of(model="llama-3.1-8b", gpu="L40S", requests=1000, months=2)
    rent = prices.rent("L40S")
    line = lines(answer)["serving: GPU rent"]
    assert rent is not None and line.usd is not None and line.per == "month"
    assert line.usd.mid == pytest.approx(730.5 * rent.mid)
    assert usd(answer).mid == pytest.approx(2 * 730.5 * rent.mid)
    assert answer.time is not None and answer.time.seconds_per_request is not None
    assert answer.time.requests_per_second is not None


def test_a_served_model_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        of(model="llama-3.1-70b", gpu="L4", requests=100)


def test_no_requests_are_said_and_a_replica_is_kept() -> None:
    served = of(model="llama-3.2-1b", gpu="L4", requests=0)
    assert usd(served).mid > 0
    assert any("requests is 0" in note for note in served.assumptions)
    asked = of(model="gpt-5-mini", method="prompt", requests=0)
    assert any("requests is 0" in note for note in asked.assumptions)


def test_an_unknown_line_makes_the_total_at_least() -> None:
    money = bill((MoneyLine("a", exactly(2.0), ""), MoneyLine("b", None, "", "", "month")), None, 3)
    assert money.usd == exactly(2.0) and money.at_least
    assert bill((MoneyLine("a", None, ""),), None).usd is None


def test_co2_is_energy_times_that_of_the_grid() -> None:
    job = {"model": "llama-3.2-1b", "method": "lora", "gpu": "rtx-4090", "examples": 1000}
    answer = of(**job, co2_g_per_kwh=100)
    assert answer.energy_kwh is not None and answer.co2_kg is not None
    assert answer.co2_kg.mid == pytest.approx(answer.energy_kwh.mid / 10)
    assert any("CO2" in note for note in answer.assumptions)
    assert of(model="llama-3.2-1b", method="lora").co2_kg is None


def test_gpt_3_cost_what_was_published() -> None:
    """4.6 M USD on V100s at 1.50 USD an hour: lambda.ai/blog/demystifying-gpt-3, 2020."""
    answer = of(model=GPT3, method="scratch",
                gpu="V100-SXM2-32GB", n_gpus=10_000, tokens=3e11, seq_len=2048,
                year=2020)  # fmt: skip
    assert answer.time is not None and answer.time.gpu_hours is not None
    low, high = answer.time.gpu_hours.low * 1.5, answer.time.gpu_hours.high * 1.5
    assert low < 4.6e6 < high


@pytest.mark.parametrize(("tokens", "hours"), [(5.69e11, 651e3), (7.08e11, 651e3 * 708 / 569)])
def test_a_50b_on_708b_tokens(tokens: float, hours: float) -> None:
    """BloombergGPT: 569B of 708B tokens in 53 days of 512 A100, recomputed: arXiv 2303.17564."""
    config = {"model_type": "bloom", "hidden_size": 7680, "n_layer": 70, "n_head": 40,
              "vocab_size": 131_072}  # fmt: skip
    answer = of(model=config, method="scratch", gpu="A100-SXM-40GB", n_gpus=512, tokens=tokens,
                seq_len=2048, checkpointing="full", year=2022)  # fmt: skip
    assert answer.time is not None and answer.time.gpu_hours is not None
    assert answer.time.gpu_hours.low < hours < answer.time.gpu_hours.high


def test_a_distilled_classifier_against_an_api() -> None:
    """A million texts a month, 200 tokens in, 5 out: 0.06 USD per 1,000 asked of gpt-5-mini; a
    small encoder keeps one L4 busy for minutes, so its month costs the card's rent."""
    price = prices.find_api("gpt-5-mini")
    rent = prices.rent("L4")
    assert price.input is not None and price.output is not None and rent is not None
    asked = of(model="gpt-5-mini", method="prompt", requests=1_000_000, tokens_in=200, tokens_out=5)
    assert usd(asked).mid == pytest.approx(200 * price.input + 5 * price.output)
    tuned = of(model="modernbert-base", method="head-ft", train="all", gpu="L4", examples=2000,
               epochs=3, requests=1_000_000, tokens_in=200)  # fmt: skip
    assert tuned.money.monthly is not None and tuned.money.once is not None
    assert tuned.money.monthly.mid == pytest.approx(730.5 * rent.mid)
    assert tuned.money.once.mid < 1.0
    assert tuned.time is not None and tuned.time.requests_per_second is not None
    assert tuned.time.requests_per_second.low > 1_000_000 / (730.5 * 3600)


@pytest.mark.parametrize("gpu", ["T4", "V100-SXM2-32GB"])
def test_a_gpu_without_bf16_is_said(gpu: str) -> None:
    answer = of(model="gpt2", method="full-ft", gpu=gpu, examples=100)
    assert any("no bf16" in note for note in answer.assumptions)
    with pytest.raises(UserError, match="no FP8"):
        of(model="gpt2", method="full-ft", gpu=gpu, examples=100, fp8=True)


def test_training_in_fp8_is_a_little_faster() -> None:
    job = {"model": "llama-3.1-8b", "method": "cpt", "gpu": "H100-SXM-80GB", "tokens": 1e8}
    plain, eighth = (of(**job, fp8=fp8).time for fp8 in (False, True))
    assert plain is not None and plain.gpu_hours is not None
    assert eighth is not None and eighth.gpu_hours is not None
    assert 1.0 < plain.gpu_hours.mid / eighth.gpu_hours.mid < 1.5


def test_examples_that_are_not_packed_are_padded() -> None:
    job = {"model": "llama-3.1-8b", "method": "lora", "gpu": "H100-SXM-80GB", "seq_len": 2048,
           "examples": 1000, "tokens_per_example": 200}  # fmt: skip
    packed, one, eight = (
        of(**job, **more).time
        for more in ({"packing": True}, {"micro_batch": 1}, {"micro_batch": 8})
    )
    assert packed is not None and packed.gpu_hours is not None
    assert one is not None and one.gpu_hours is not None
    assert eight is not None and eight.gpu_hours is not None
    assert packed.gpu_hours.mid < eight.gpu_hours.mid
    assert packed.gpu_hours.mid < one.gpu_hours.mid
    unknown = of(**{**job, "tokens_per_example": None}, packing=False).time
    assert unknown is not None and unknown.tokens_per_second is not None
    assert unknown.tokens_per_second.high > 8 * unknown.tokens_per_second.low


SERVED = {"model": "llama-3.2-1b", "gpu": "L4"}


@given(requests=st.integers(0, 10**9), more=st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_more_requests_never_cost_less(requests: int, more: int) -> None:
    for job in (SERVED, {"model": "gpt-5-mini", "method": "prompt"}):
        less, much = (usd(of(**job, requests=n)) for n in (requests, requests + more))
        assert less.low <= much.low and less.mid <= much.mid and less.high <= much.high


@given(
    amounts=st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(["once", "month"])), min_size=1),
    months=st.floats(0.5, 60),
)
def test_a_total_is_the_sum_of_its_lines(amounts: list[tuple[float, Any]], months: float) -> None:
    money = bill([MoneyLine("x", exactly(a), "", "", per) for a, per in amounts], None, months)
    summed = sum(a * (months if per == "month" else 1) for a, per in amounts)
    assert money.usd is not None and money.usd.mid == pytest.approx(summed, abs=1e-6)


@given(tokens=st.floats(1e6, 1e13), more=st.floats(0, 1e13))
@settings(max_examples=25, deadline=None)
def test_more_tokens_never_train_for_less(tokens: float, more: float) -> None:
    """Also across the lengths at which restarts come to count."""
    job = {"model": "llama-3.1-8b", "method": "cpt", "gpu": "H100-SXM-80GB", "n_gpus": 8}
    less, much = (usd(of(**job, tokens=n)) for n in (tokens, tokens + more))
    assert less.low <= much.low and less.mid <= much.mid and less.high <= much.high
