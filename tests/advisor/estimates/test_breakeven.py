"""Break-even: solved equals scanned, by hand where one can, refused where there is no price."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from advisor.estimates import estimate
from advisor.estimates.breakeven import MOST, Cost, Costs, costs, crossing, crossings
from advisor.job import settled
from knowledge.errors import UserError

API = settled({"model": "gpt-5-mini", "method": "prompt", "tokens_in": 500, "tokens_out": 100})
OWN = settled({"model": "llama-3.1-8b", "method": "lora", "gpu": "L40S", "examples": 1000,
               "tokens_in": 500, "tokens_out": 100})  # fmt: skip


def plain(name: str, cost: Cost) -> Costs:
    return Costs(name, cost, cost, cost, 1.0, False, None)


def test_by_hand() -> None:
    """1 USD a request against 100 USD once: from the hundredth request on."""
    found = crossing(plain("api", Cost(0.0, 1.0)), plain("once", Cost(100.0, 0.0)))
    assert (found.cheaper_below, found.cheaper_above) == ("api", "once")
    assert found.requests == pytest.approx(100.0)
    assert found.for_good == pytest.approx(100.0)


def test_steps_can_turn_the_order_several_times() -> None:
    """1 USD a request against servers of 90 USD that hold 100 requests each."""
    found = crossing(plain("api", Cost(0.0, 1.0)), plain("server", Cost(0.0, 0.0, 90.0, 100.0)))
    assert found.requests == pytest.approx(90.0)
    assert found.cheaper_above == "server"
    assert found.for_good == pytest.approx(810.0)  # from then on never 90 USD behind


def test_never_is_none() -> None:
    found = crossing(plain("a", Cost(0.0, 1.0)), plain("b", Cost(5.0, 1.0)))
    assert found.cheaper_below == found.cheaper_above == "a"
    assert found.requests is None


cost = st.builds(
    Cost,
    fixed=st.floats(0, 1e5),
    each=st.floats(1e-6, 1.0),
    replica=st.sampled_from([0.0, 50.0, 900.0]),
    holds=st.floats(1e3, 1e6),
)


@given(one=cost, other=cost)
@settings(max_examples=60, deadline=None)
def test_solved_equals_scanned(one: Cost, other: Cost) -> None:
    assume(abs(one.usd(1.0) - other.usd(1.0)) > 1e-6)
    found = crossing(plain("one", one), plain("other", other))
    first = 1 if one.usd(1.0) <= other.usd(1.0) else -1
    volumes = [10 ** (k / 40) for k in range(9 * 40)]
    turned = next((v for v in volumes if first * (one.usd(v) - other.usd(v)) > 1e-6), None)
    if turned is None:
        return  # a scan may step over a turn that is soon turned back
    assert found.requests is not None
    assert found.requests <= turned * (1 + 1e-9)
    if found.requests > 1.0:
        below = found.requests * (1 - 1e-6)
        assert first * (one.usd(below) - other.usd(below)) <= 1e-6


@given(volume=st.integers(1, 10**8))
@settings(max_examples=25, deadline=None)
def test_the_cost_of_a_volume_is_that_of_its_estimate(volume: int) -> None:
    from msgspec.structs import replace

    for job in (API, OWN):
        said = estimate(replace(job, requests=volume)).money.usd
        assert said is not None
        curve = costs(job, "x").usd(volume)
        assert (curve.low, curve.mid, curve.high) == pytest.approx(
            (said.low, said.mid, said.high), rel=1e-6
        )


def test_an_api_is_cheaper_at_first_and_a_gpu_later() -> None:
    ((found),) = crossings([costs(API, "api"), costs(OWN, "own")])
    assert found.cheaper_below == "api" and found.cheaper_above == "own"
    assert found.requests is not None and 1e4 < found.requests < MOST
    assert found.low is None or found.low <= found.requests
    assert found.high is None or found.high >= found.requests


def test_what_has_no_price_or_answers_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="price is not known"):
        costs(settled({"model": "llama-3.2-1b", "method": "prompt"}), "x")
    with pytest.raises(UserError):
        costs(settled({"model": "llama-3.2-1b", "method": "lora"}), "x")
