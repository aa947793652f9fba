"""The closed form against the model's own code on fake tensors: within two in a hundred.

A covering subset; `benchmarks/memory_matrix.py` has every family and method at three points.
"""

import pytest

from advisor import tracing
from advisor.estimates import bill
from advisor.job import settled
from backends import dryrun
from knowledge import methods
from knowledge.quantities import GIB

LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 1536, "vocab_size": 8000,
    "max_position_embeddings": 4096,
}  # fmt: skip
FAMILIES = [
    "gpt2", "pythia-70m", "opt-125m", "bloom-560m", "qwen3-0.6b", "gemma-3-270m", "gemma-2-2b",
    "phi-1.5", "phi-3-mini-4k", "olmo-2-1b", "mistral-7b-v0.1", "mixtral-8x7b",
    "qwen1.5-moe-a2.7b", "deepseek-v2-lite", "gpt-oss-20b", "bert-base-uncased",
    "modernbert-base", "t5-small", "bart-base",
]  # fmt: skip
SETTINGS = [
    {"checkpointing": "full"},
    {"checkpointing": "full-offloaded"},
    {"attention": "eager"},
    {"weights_dtype": "fp32", "autocast": True},
    {"weights_dtype": "fp32", "autocast": True, "checkpointing": "full"},
]
POINTS = [(2, 512), (4, 256), (1, 1024)]
UNLIKE = {
    "llama-adapter-v2": "LitGPT alone has it",
}  # fmt: skip
TRAINING = sorted(
    m.id for m in methods.table().values() if "training" in m.phases and m.id not in UNLIKE
)


def off(**keys: object) -> float:
    """The closed form over the trace, less one."""
    said = {
        "weights_dtype": "bf16", "checkpointing": "none", "attention": "sdpa", "autocast": False,
        "optimizer": "adamw", **keys,
    }  # fmt: skip
    job = settled(said)
    traced = dryrun.trace(tracing.request(job))
    if traced.attention != job.attention:
        job = settled({**said, "attention": "eager"})
    return bill(job).allocated.mid * GIB / traced.allocated - 1


@pytest.mark.parametrize("method", TRAINING)
def test_every_method_that_trains(method: str) -> None:
    quant = {"quant": "nf4-dq"} if methods.find(method).quant == "must" else {}
    batch, length = POINTS[TRAINING.index(method) % 3]
    group = {"completions": 2, "new_tokens": 64} if method in ("ppo", "grpo") else {}
    head = {"train": "all", "classes": 3} if method == "head-ft" else {}
    model = "bert-base-uncased" if method == "head-ft" else LLAMA
    length = min(length, 512) if method == "head-ft" else length
    if method == "llamapro":  # as many old blocks in each group
        model = {**LLAMA, "num_hidden_layers": 8}
    error = off(model=model, method=method, micro_batch=batch, seq_len=length, **quant, **group,
                **head)  # fmt: skip
    assert abs(error) <= 0.02


ON_CPU = [
    {"method": "lora", "lora_rank": 16, "lora_targets": "all-linear", "lora_dropout": 0.05},
    {"method": "dora", "lora_dropout": 0.05},
    {"method": "adapter-sequential"},
    {"method": "soft-prompt"},
    {"method": "head-ft", "train": "all", "classes": 77},
]


@pytest.mark.parametrize("keys", ON_CPU, ids=lambda keys: str(keys["method"]))
def test_a_processor_drops_out_by_noise_and_spells_attention_out(keys: dict[str, object]) -> None:
    error = off(model="all-minilm-l6-v2", gpu="cpu", micro_batch=16, seq_len=64,
                **{"weights_dtype": "fp32", **keys})  # fmt: skip
    assert abs(error) <= 0.03


@pytest.mark.parametrize("gpu", ["cpu", None])
@pytest.mark.parametrize("keys", ON_CPU, ids=lambda keys: str(keys["method"]))
def test_what_is_added_multiplies_in_bf16_under_autocast(
    keys: dict[str, object], gpu: str | None
) -> None:
    error = off(model="all-minilm-l6-v2", gpu=gpu, micro_batch=64, seq_len=64,
                **{"weights_dtype": "fp32", **keys, "autocast": True})  # fmt: skip
    assert abs(error) <= (0.03 if gpu else 0.035)


def test_dropping_an_adapters_inputs_is_counted_on_a_gpu_too() -> None:
    dropping = {"method": "lora", "lora_targets": "all-linear", "lora_dropout": 0.1}
    error = off(model=LLAMA, micro_batch=4, seq_len=512, **dropping)
    assert abs(error) <= 0.02
    kept = bill(settled({"model": LLAMA, "micro_batch": 4, "seq_len": 512, **dropping}))
    plain = bill(settled({"model": LLAMA, "micro_batch": 4, "seq_len": 512, **dropping,
                          "lora_dropout": 0.0}))  # fmt: skip
    assert kept.allocated.mid > 1.05 * plain.allocated.mid


@pytest.mark.parametrize("model", FAMILIES)
def test_families(model: str) -> None:
    assert abs(off(model=model, method="full-ft", micro_batch=4, seq_len=256)) <= 0.02


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: " ".join(map(str, s.values())))
def test_settings(setting: dict[str, object]) -> None:
    for batch, length in POINTS[:2]:
        error = off(model=LLAMA, method="full-ft", micro_batch=batch, seq_len=length, **setting)
        assert abs(error) <= 0.02


@pytest.mark.parametrize("model", ["llama-3.2-1b", "qwen2.5-0.5b", "bert-base-uncased"])
def test_reading_a_prompt(model: str) -> None:
    job = {"model": model, "method": "inference", "micro_batch": 4, "seq_len": 512}
    assert abs(off(**job, new_tokens=0)) <= 0.02
