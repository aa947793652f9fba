"""What must hold for every memory estimate."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.estimates import bill, estimate
from advisor.job import settled
from knowledge import methods
from knowledge.errors import UserError

TRAINED = sorted(
    row.id for row in methods.table().values() if "training" in row.phases
)  # fmt: skip
MODELS = ("llama-3.2-1b", "qwen2.5-0.5b", "all-minilm-l6-v2", "mixtral-8x7b", "gpt2")


def config(layers: int = 4, vocab: int = 1000, heads: int = 8) -> dict[str, Any]:
    return {
        "model_type": "llama", "hidden_size": 256, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "intermediate_size": 700,
        "vocab_size": vocab, "max_position_embeddings": 100_000, "tie_word_embeddings": False,
    }  # fmt: skip


def peak(**job: Any) -> float:
    return bill(settled(job)).allocated.mid


@given(
    method=st.sampled_from(TRAINED),
    batch=st.integers(1, 64),
    length=st.integers(8, 4096),
    checkpointing=st.sampled_from(["none", "selective", "full", "full-offloaded"]),
    attention=st.sampled_from(["eager", "sdpa"]),
    more=st.integers(1, 16),
)
@settings(max_examples=150, deadline=None)
def test_more_work_never_takes_less(
    method: str, batch: int, length: int, checkpointing: str, attention: str, more: int
) -> None:
    base = {"model": config(), "method": method, "micro_batch": batch, "seq_len": length,
            "checkpointing": checkpointing, "attention": attention, "new_tokens": 16}  # fmt: skip
    least = peak(**base) * (1 - 1e-12)
    assert peak(**{**base, "micro_batch": batch + more}) >= least
    assert peak(**{**base, "seq_len": length + more}) >= least
    assert peak(**{**base, "model": config(layers=4 + more)}) >= least
    assert peak(**{**base, "model": config(vocab=1000 + 64 * more)}) >= least


@given(rank=st.integers(1, 128), more=st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_rank_never_lowers(rank: int, more: int) -> None:
    base = {"model": config(), "method": "lora"}
    assert peak(**base, lora_rank=rank + more) >= peak(**base, lora_rank=rank)


@given(
    method=st.sampled_from(["full-ft", "lora", "dpo", "ppo", "scratch"]),
    gpus=st.sampled_from([1, 2, 4, 8, 64]),
)
@settings(max_examples=40, deadline=None)
def test_sharding_never_raises_static_memory(method: str, gpus: int) -> None:
    job = {"model": config(), "method": method, "phase": "static", "n_gpus": gpus}
    sizes = [peak(**job, sharding=s) for s in ("ddp", "zero1", "zero2", "zero3")]
    assert sizes == sorted(sizes, reverse=True)
    assert peak(**job, sharding="fsdp") == sizes[-1]


@pytest.mark.parametrize("model", ["llama-3.2-3b", "llama-3.1-8b", "llama-2-13b"])
def test_methods_in_order(model: str) -> None:
    job = {"model": model, "micro_batch": 1, "seq_len": 1024, "new_tokens": 128}
    sizes = [peak(**job, method=m) for m in ("qlora", "lora", "full-ft", "ppo")]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", sorted(methods.table()))
def test_every_method_has_a_bill_that_adds_up(model: str, method: str) -> None:
    if not methods.find(method).phases:
        with pytest.raises(UserError, match=f"{method} runs no model"):
            estimate(settled({"model": model, "method": method}))
        return
    if "requests" in methods.find(method).phases:
        return
    held = bill(settled({"model": model, "method": method, "seq_len": 128}))
    assert sum(line.gib for line in held.lines) == pytest.approx(held.allocated.mid, rel=2e-3)
    assert 0 < held.static_gib <= held.allocated.mid


@given(tensor=st.sampled_from([1, 2, 4, 8]), pipeline=st.sampled_from([1, 2, 4]))
@settings(max_examples=12, deadline=None)
def test_model_parallelism_never_raises_the_static_part(tensor: int, pipeline: int) -> None:
    job = {"model": config(), "method": "scratch", "phase": "static"}
    assert peak(**job, tp=tensor, pp=pipeline) <= peak(**job) * (1 + 1e-9)
