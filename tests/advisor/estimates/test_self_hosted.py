"""Prompts and retrieval answered by GPUs of one's own: rent, latency, queries, break-even."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from advisor.estimates import breakeven, estimate, requests, serving
from advisor.estimates.records import Estimate
from advisor.job import settled
from knowledge import prices
from knowledge.errors import UserError

PROMPT = {"model": "llama-3.1-8b", "method": "prompt", "gpu": "L40S", "requests": 1_000_000,
          "tokens_in": 500, "tokens_out": 150}  # fmt: skip
RAG = PROMPT | {"method": "rag", "corpus_tokens": 1e7}


def served(answer: Estimate) -> float:
    return sum(line.usd.mid for line in answer.money.lines
               if line.usd and line.name.startswith(serving.LINE))  # fmt: skip


@pytest.mark.parametrize("keys", [PROMPT, RAG], ids=["prompt", "rag"])
def test_the_bill_has_rent_latency_and_queries_a_second(keys: dict[str, object]) -> None:
    answer = estimate(settled(keys))
    time, money = answer.time, answer.money
    assert answer.fits and time and time.seconds_per_request and time.requests_per_second
    assert served(answer) > 100 and money.monthly and not money.at_least
    monthly = sum(line.usd.mid for line in money.lines if line.per == "month" and line.usd)
    assert money.monthly.mid == pytest.approx(monthly)
    assert any("traffic keeps" in said for said in answer.assumptions)


def test_one_gpu_answers_what_compute_and_bandwidth_let_it() -> None:
    """By hand: 8e9 parameters on an L40S read 500 tokens and write 150 for 228 requests at once.

    Reading: 2 x 8e9 x 500 x batch over 0.2 to 0.6 of 362e12; writing: 150 passes that each read
    16e9 bytes of weights and the batch's caches at 0.5 to 0.85 of 864e9 bytes a second.
    """
    time = estimate(settled(PROMPT)).time
    assert time and time.requests_per_second
    batch = serving.capacity(settled(PROMPT)).batch
    cache = batch * 575 * 2 * 32 * 8 * 128 * 2
    reading = 2 * 7.5e9 * 500 * batch / (0.4 * 362e12)
    writing = 150 * (16e9 + cache) / (0.7 * 864e9) + 150 * batch * 2 * 8e9 / (0.5 * 362e12)
    assert time.requests_per_second.mid == pytest.approx(batch / (reading + writing), rel=0.1)


def test_passages_make_each_request_slower() -> None:
    plain, longer = estimate(settled(PROMPT)).time, estimate(settled(RAG)).time
    assert plain and longer and plain.requests_per_second and longer.requests_per_second
    assert longer.requests_per_second.mid < plain.requests_per_second.mid


@pytest.mark.parametrize("keys", [PROMPT, RAG], ids=["prompt", "rag"])
def test_less_of_the_day_in_use_and_more_requests_never_cost_less(keys: dict[str, object]) -> None:
    job = settled(keys | {"requests": 50_000_000})
    costs = [served(estimate(replace(job, utilisation=use))) for use in (1.0, 0.5, 0.25, 0.1)]
    assert costs == sorted(costs) and costs[0] < costs[-1]
    grown = [served(estimate(replace(job, requests=n))) for n in (0, 10**6, 10**7, 10**8)]
    assert grown == sorted(grown) and grown[0] > 0


def test_owned_gpus_are_written_off_and_take_power() -> None:
    owned = estimate(settled(PROMPT | {"owned": True, "gpu_usd": 9000}))
    names = [line.name for line in owned.money.lines]
    assert names == ["serving: own GPUs", "serving: electricity"]
    unknown = estimate(settled(PROMPT | {"owned": True}))
    assert unknown.money.at_least


def test_a_hosted_model_stays_hosted_and_a_processor_hosts_none() -> None:
    assert not requests.hosts(settled(PROMPT | {"model": "gpt-5-mini"}))
    assert not requests.hosts(settled(PROMPT | {"gpu": "cpu"}))
    assert not requests.hosts(settled(PROMPT | {"gpu": None}))


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        estimate(settled(PROMPT | {"model": "llama-3.1-70b"}))


@pytest.mark.parametrize("keys", [PROMPT, RAG], ids=["prompt", "rag"])
@pytest.mark.parametrize("requests", [1, 10**5, 3 * 10**6, 4 * 10**7])
def test_the_cost_over_volume_is_what_each_bill_says(
    keys: dict[str, object], requests: int
) -> None:
    job = settled(keys | {"months": 12})
    line = breakeven.costs(job, "own")
    money = estimate(replace(job, requests=requests)).money.usd
    assert money is not None
    assert line.usd(requests).mid == pytest.approx(money.mid, rel=1e-6)


def test_the_break_even_with_an_endpoint_is_where_the_bills_cross() -> None:
    own = breakeven.costs(settled(RAG | {"months": 12}), "own")
    api = breakeven.costs(settled(RAG | {"model": "gpt-5-mini", "gpu": None, "months": 12}), "api")
    found = breakeven.crossing(own, api)
    assert found.cheaper_below == "api" and found.requests is not None
    assert own.mid.usd(found.requests * 0.99) > api.mid.usd(found.requests * 0.99)
    assert own.mid.usd(found.requests * 1.01) < api.mid.usd(found.requests * 1.01)


@pytest.mark.parametrize("keys", [PROMPT, {"model": "ft:some-model", "method": "lora"}])
def test_a_fault_in_own_prices_is_said_and_hides_no_model(
    keys: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("date: 2026-11-20\napis: {gpt-5-mini: {input: 700.0}}\n", encoding="utf-8")
    monkeypatch.setenv("ADVISOR_PRICES", str(file))
    prices.reload()
    try:
        with pytest.raises(UserError, match=r"input is 700\.0"):
            estimate(settled(keys))
    finally:
        monkeypatch.undo()
        prices.reload()
