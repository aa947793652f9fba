"""Operations, hours, dollars and energy."""

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.estimates import estimate, flops
from advisor.estimates.records import Estimate
from advisor.estimates.settling import settled as physics
from advisor.job import settled
from knowledge import constants, models, prices


def of(**job: Any) -> Estimate:
    return estimate(settled(job))


def test_six_operations_a_parameter_and_token() -> None:
    job = settled({"model": "llama-2-7b", "method": "full-ft", "checkpointing": "none",
                   "seq_len": 1})  # fmt: skip
    arch = models.find("llama-2-7b").architecture()
    matrices = sum(x.parameters() for x in arch.linear_shapes()) + 4096 * 32000
    assert flops.training(physics(job)) == pytest.approx(6 * matrices, rel=1e-4)


def test_a_frozen_base_needs_four_and_recomputing_two_more() -> None:
    full, lora, again = (
        flops.training(physics(settled({"model": "llama-2-7b", "seq_len": 1, **more})))
        for more in (
            {"method": "full-ft", "checkpointing": "none"},
            {"method": "lora", "checkpointing": "none", "lora_rank": 1, "lora_targets": "q"},
            {"method": "full-ft", "checkpointing": "full"},
        )
    )
    assert lora / full == pytest.approx(4 / 6, rel=1e-3)
    assert again / full == pytest.approx(8 / 6, rel=0.01)


def test_attention_counts_at_long_sequences() -> None:
    arch = models.find("llama-2-7b").architecture()
    assert flops.attention(arch, 8192) == 4 * 4096 * 32 * 4096


def test_a_7b_on_a_trillion_tokens() -> None:
    """LLaMA-7B took 82,432 A100-hours: https://arxiv.org/abs/2302.13971, table 15."""
    hours = of(model="llama-7b", method="scratch", gpu="A100-SXM-80GB", n_gpus=512, tokens=1e12,
               seq_len=2048).time  # fmt: skip
    assert hours is not None
    assert hours.gpu_hours is not None
    assert hours.gpu_hours.low < 82_432 < hours.gpu_hours.high


@given(examples=st.integers(1, 10**7), more=st.integers(1, 10**7))
@settings(max_examples=30, deadline=None)
def test_more_examples_never_cost_less(examples: int, more: int) -> None:
    less, much = (
        of(model="llama-3.2-1b", method="lora", gpu="rtx-4090", examples=n, seq_len=512).money.usd
        for n in (examples, examples + more)
    )
    assert less is not None
    assert much is not None
    assert less.mid <= much.mid


def test_the_total_is_the_sum_of_its_lines() -> None:
    money = of(model="gpt-5.6", method="rag", requests=1000, corpus_tokens=1e6).money
    assert money.usd is not None
    assert money.usd.mid == pytest.approx(sum(x.usd.mid for x in money.lines if x.usd))
    assert [x.name for x in money.lines] == [
        "model requests", "longer prompts", "embedding", "retrieval", "index in memory",
        "index on disk",
    ]  # fmt: skip


def test_requests_cost_tokens_times_price() -> None:
    price = prices.find_api("gpt-5.6")
    money = of(model="gpt-5.6", method="prompt", requests=1000, tokens_in=500, tokens_out=100).money
    assert money.usd is not None
    assert money.usd.mid == pytest.approx(1000 * (price.usd(500, 100) or 0))
    assert money.usd.low == money.usd.high
    assert money.prices_as_of == prices.snapshot("api")


def test_unknown_is_none_and_never_zero() -> None:
    nowhere = of(model="llama-3.2-1b", method="lora")
    assert nowhere.fits is None
    assert nowhere.money.usd is None
    assert nowhere.energy_kwh is None
    unpriced = of(model="llama-3.2-1b", method="prompt", requests=10)
    assert unpriced.money.usd is None
    assert unpriced.money.at_least
    assert any("no price" in note for note in unpriced.assumptions)
    unmeasured = of(model="gpt-5.6", method="rag", requests=10)
    assert unmeasured.money.usd is not None
    assert unmeasured.money.at_least


def test_a_small_encoder_on_two_cores() -> None:
    """Fine-tuning ran at 47 examples a second of some 35 tokens, 25 passages of 260 embedded."""
    job = {"model": "all-minilm-l6-v2", "gpu": "cpu", "seq_len": 128, "cpu_cores": 2}
    tuned = of(**job, method="head-ft", train="all", examples=1000, tokens_per_example=35, epochs=1)
    assert tuned.time is not None
    assert tuned.time.wall_hours is not None
    assert tuned.time.wall_hours.low * 3600 < 1000 / 47 < tuned.time.wall_hours.high * 3600
    assert tuned.money.usd is not None
    assert 0 < tuned.money.usd.high < 1
    head = of(**job, method="head-ft", train="head", examples=1000, epochs=1).time
    full = of(**job, method="head-ft", train="all", examples=1000, epochs=1).time
    assert head is not None and head.gpu_hours is not None
    assert full is not None and full.gpu_hours is not None
    assert head.gpu_hours.mid < full.gpu_hours.mid / 2


def test_energy_is_hours_times_power() -> None:
    answer = of(model="llama-3.2-1b", method="lora", gpu="rtx-4090", examples=1000)
    assert answer.energy_kwh is not None
    assert answer.time is not None
    assert answer.time.gpu_hours is not None
    power = 1.0
    for name in ("power-share", "host-power", "pue"):
        power *= constants.find(name).mid
    assert answer.energy_kwh.mid == pytest.approx(answer.time.gpu_hours.mid * 0.45 * power)


def test_decoding_is_no_faster_than_the_memory() -> None:
    answer = of(model="llama-2-7b", method="inference", gpu="A100-SXM-80GB", seq_len=128,
                new_tokens=128, engine="vllm", examples=1)  # fmt: skip
    assert answer.time is not None
    assert answer.time.tokens_per_second is not None
    assert 60 < answer.time.tokens_per_second.mid < 2.04e12 / (2 * 6.74e9)


def test_the_json_of_the_contract() -> None:
    answer = json.loads(
        msgspec.json.encode(
            of(id="a", model="llama-2-7b", method="lora", gpu="A100-SXM-80GB", examples=100)
        )
    )
    assert set(answer) >= {"id", "fits", "memory_gib", "time", "money", "energy_kwh",
                           "assumptions", "sources"}  # fmt: skip
    assert set(answer["memory_gib"]) >= {"allocated", "reserved", "card", "lines", "peak_phase"}
    assert set(answer["memory_gib"]["lines"][0]) >= {"name", "gib", "why"}
    assert set(answer["time"]) >= {"gpu_hours", "wall_hours", "tokens_per_second"}
    assert set(answer["money"]) >= {"usd", "lines", "prices_as_of"}
    assert set(answer["memory_gib"]["card"]) == {"low", "mid", "high"}


def test_estimating_imports_nothing_heavy() -> None:
    code = (
        "import sys; from advisor.estimates import estimate; from advisor.job import settled; "
        "estimate(settled({'model': 'gpt2', 'gpu': 'cpu'})); "
        "print([m for m in ('torch', 'numpy', 'click', 'rich', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_decoding_waits_for_launches_all_reduces_and_its_turn() -> None:
    """Measured, tokens a second in all: litgpt on one A100 31 (eager), gpt-fast on four 254."""
    job = {"model": "llama-2-7b", "method": "inference", "seq_len": 128, "new_tokens": 128}

    def speed(**more: Any) -> float:
        time = of(**job, **more).time
        assert time is not None and time.tokens_per_second is not None
        return time.tokens_per_second.mid

    eager = speed(gpu="A100-SXM-40GB", engine="litgpt")
    assert 31 / 1.5 < eager < 31 * 1.5
    four = 4 * speed(gpu="A100-SXM-80GB", engine="gpt-fast", n_gpus=4, tp=4)
    assert 254 / 1.3 < four < 254 * 1.3
    dealt = 2 * speed(gpu="A100-SXM-80GB", engine="gpt-fast", n_gpus=2)
    assert dealt <= speed(gpu="A100-SXM-80GB", engine="gpt-fast") * 1.01
