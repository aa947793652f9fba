"""A job: keys, other names, ranges, flags."""

import pytest

from advisor.job import Job, fields, settled
from knowledge import measured
from knowledge.errors import UserError

CONTRACT = {
    "id": "a", "model": "llama-2-7b", "method": "lora", "lora_rank": 8, "lora_targets": "q,v",
    "quant": "none", "weights_dtype": "bf16", "optimizer": "adamw", "optimizer_dtype": "fp32",
    "micro_batch": 1, "seq_len": 2048, "checkpointing": "full", "attention": "sdpa",
    "engine": "transformers", "gpu": "A100-SXM-80GB", "n_gpus": 1, "sharding": "none",
    "tensor_parallel": 1, "offload": "none", "examples": 10000, "tokens_per_example": 400,
    "epochs": 3,
}  # fmt: skip


def test_the_contract_s_job() -> None:
    job = settled(CONTRACT)
    assert (job.tp, job.epochs, job.seq_len) == (1, 3.0, 2048)


def test_columns_of_measured_rows_are_keys() -> None:
    not_configuration = {
        "params", "n_layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "measured_gib",
        "metric", "published_as", "library", "source", "source_status", "tier", "predictable",
        "suspect",
    }  # fmt: skip
    columns = set(measured.MemoryRow.__struct_fields__) - not_configuration
    assert columns <= set(Job.__struct_fields__)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ({"data-parallel": "8"}, "dp", 8),
        ({"per_device_train_batch_size": 4}, "micro_batch", 4),
        ({"cutoff_len": 512}, "seq_len", 512),
        ({"gradient_checkpointing": True}, "checkpointing", "full"),
        ({"attn_implementation": "flash_attention_2"}, "attention", "flash"),
        ({"in_backward": "no"}, "in_backward", False),
        ({"method": "lora-r8"}, "lora_rank", 8),
        ({"target_modules": ["q_proj", "v_proj"]}, "lora_targets", "q_proj,v_proj"),
        ({"optimizer": "paged_adamw_8bit"}, "optimizer", "paged-adamw-8bit"),
        ({"weights_dtype": "bfloat16"}, "weights_dtype", "bf16"),
        ({"epochs": ""}, "epochs", None),
    ],
)
def test_other_words(given: dict[str, object], key: str, value: object) -> None:
    assert getattr(settled(given), key) == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"seq_lenn": 1}, "no job key 'seq_lenn'; did you mean 'seq_len'"),
        ({"micro_batch": 0}, "micro_batch is 0; it must be at least 1"),
        ({"micro_batch": -3}, "micro_batch is -3; it must be at least 1"),
        ({"seq_len": 1.5}, "seq_len is 1.5; it must be a whole number"),
        ({"quant": "nf5"}, "no quant 'nf5'; did you mean 'nf4'"),
        ({"epochs": "many"}, "epochs is 'many'; it must be a number"),
        ({"epochs": 0}, "epochs is 0; it must be more than 0"),
        ({"compile": "maybe"}, "compile is 'maybe'; it must be yes or no"),
        ({"cached_share": 2}, "cached_share is 2; it must be at most 1"),
        ({"tp": 2, "tensor_parallel": 4}, "another name of 'tp'"),
    ],
)
def test_bad_input_names_key_value_and_range(given: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as error:
        settled(given)
    assert says in str(error.value)


def test_every_key_is_a_flag_with_help() -> None:
    flags = list(fields())
    assert [flag.name for flag in flags] == list(Job.__struct_fields__)
    assert all(flag.help.endswith(".") for flag in flags)
    choices = {flag.name: flag.choices for flag in flags}
    assert choices["checkpointing"] == ("none", "selective", "full", "full-offloaded")
    assert choices["seq_len"] is None
    kinds = {flag.name: flag.type for flag in flags}
    assert (kinds["compile"], kinds["epochs"], kinds["tp"]) == (bool, float, int)
