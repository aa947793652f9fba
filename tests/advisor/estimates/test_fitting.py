"""What is said to fit does, and one more does not."""

import pytest
from msgspec.structs import replace

from advisor.estimates import estimate
from advisor.estimates.fitting import fit
from advisor.job import Job, settled
from knowledge.errors import UserError

LORA = {"model": "llama-3.1-8b", "method": "lora", "gpu": "rtx-4090", "seq_len": 512}
FULL = {"model": "llama-3.2-1b", "method": "full-ft", "gpu": "H100-SXM-80GB", "seq_len": 2048}
SERVE = {"model": "llama-3.1-70b", "method": "inference", "gpu": "H100-SXM-80GB", "seq_len": 4096}


def fits(job: Job, surely: bool) -> bool:
    found = estimate(job)
    return bool(found.fits_surely if surely else found.fits)


@pytest.mark.parametrize("keys", [LORA, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("surely", [True, False])
def test_the_largest_fits_and_one_more_does_not(keys: dict[str, object], surely: bool) -> None:
    job = settled(keys)
    found = fit(job)
    for setting, most in (("micro_batch", found.micro_batch), ("seq_len", found.seq_len)):
        value = most.surely if surely else most.likely
        exact = {"seq_len_is": "exact"} if setting == "seq_len" else {}
        assert fits(replace(job, **{setting: value}, **exact), surely)
        assert not fits(replace(job, **{setting: value + 1}, **exact), surely)


def test_what_surely_fits_also_likely_does() -> None:
    found = fit(settled(FULL))
    assert found.micro_batch.surely <= found.micro_batch.likely
    assert found.seq_len.surely <= found.seq_len.likely
    assert found.n_gpus.surely >= found.n_gpus.likely


def test_a_70b_needs_several_cards_and_4_bits_help() -> None:
    found = fit(settled(SERVE))
    assert not found.fits and found.micro_batch.likely is None
    assert found.n_gpus.likely in (2, 4)
    helps = {(change.setting, change.value): change for change in found.changes}
    assert helps["quant", "nf4-dq"].fits
    assert all(change.saves_gib > 0 for change in found.changes)


@pytest.mark.parametrize("gpu", [None, "cpu"])
def test_without_a_gpu_there_is_nothing_to_fit_on(gpu: str | None) -> None:
    with pytest.raises(UserError, match="no GPU to fit"):
        fit(settled({**LORA, "gpu": gpu}))


def test_prompting_takes_no_memory_of_yours() -> None:
    with pytest.raises(UserError, match="nothing to fit"):
        fit(settled({"model": "gpt-5-mini", "method": "prompt", "gpu": "H100-SXM-80GB"}))
