"""The whole catalogue at once says what each estimate says by itself."""

import numpy as np
import pytest
from msgspec.structs import replace

from advisor.estimates import bill, catalogue, estimate
from advisor.job import Job, settled
from knowledge import gpus, methods, models, prices
from knowledge.errors import UserError

BASE = Job(model=None)
SOME = ("llama-3.1-8b", "gemma-2-2b", "bert-base-uncased", "t5-base", "mixtral-8x7b", "gpt2")


def test_every_count_is_what_its_own_estimate_is() -> None:
    checked = 0
    for need in catalogue.needs(BASE, of_models=SOME, counts=(1, 2, 8, 64)):
        trains = methods.find(need.method).trains != "nothing"
        for at, count in enumerate(need.counts):
            job = replace(BASE, model=need.model, method=need.method, n_gpus=count)
            way = {"sharding": "fsdp" if count > 1 else None} if trains else {"tp": count}
            try:
                card = bill(replace(job, **way)).card
            except UserError:
                assert np.isnan(need.card[1, at]) and need.range(count) is None
                continue
            assert need.card[:, at] == pytest.approx([card.low, card.mid, card.high], rel=1e-9)
            checked += 1
    assert checked > 700


def test_all_models_and_methods_come() -> None:
    rows = methods.table().values()
    served = {row.id for row in rows if not row.phases or "requests" in row.phases}
    found = list(catalogue.needs(BASE, of_methods=("inference", "lora"), counts=(1,)))
    assert {need.model for need in found} == set(models.table())
    ways = {need.method for need in catalogue.needs(BASE, of_models=("gpt2",), counts=(1, 2))}
    assert ways == set(methods.table()) - served


def test_the_cheapest_way_fits_and_none_cheaper_does() -> None:
    base = settled({"model": "qwen3-32b", "method": "full-ft", "seq_len": 2048})
    (need,) = catalogue.needs(base, of_models=("qwen3-32b",), of_methods=("full-ft",))
    found = catalogue.cheapest(need)
    assert found is not None
    name, count = found
    sharded = {"sharding": "fsdp" if count > 1 else None}
    assert estimate(replace(base, gpu=name, n_gpus=count, **sharded)).fits_surely
    rent = prices.rent(name)
    assert rent is not None
    for other in gpus.table():
        price = prices.rent(other)
        for few in catalogue.COUNTS:
            if price is not None and price.mid * few < rent.mid * count:
                needed = need.range(few)
                assert needed is None or needed.high > gpus.find(other).memory_gib


def test_more_gpus_never_need_more_each_beyond_two() -> None:
    for need in catalogue.needs(BASE, of_models=SOME, of_methods=("full-ft", "lora", "dpo")):
        sharded = need.card[1, 1:]
        assert np.all(np.diff(sharded) <= 1e-9)
