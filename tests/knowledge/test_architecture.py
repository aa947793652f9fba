"""Arithmetic that follows from a shape: hand-derived bills, and what must hold for every shape."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge import models
from knowledge.architecture import Architecture
from knowledge.families import architecture


def shape(model: str) -> Architecture:
    return models.find(model).architecture()


def test_llama_2_7b_by_hand() -> None:
    arch = shape("llama-2-7b")
    attention, mlp, norms = 4 * 4096 * 4096, 3 * 4096 * 11008, 2 * 4096
    assert arch.block_parameters(0) == arch.block_parameters(31) == attention + mlp + norms
    assert arch.embedding_parameters() == arch.head_parameters() == 32000 * 4096
    assert arch.parameters() == 32 * (attention + mlp + norms) + 4096 + 2 * 32000 * 4096
    assert arch.active_parameters() == arch.parameters()
    assert arch.kv_bytes_per_token() == 2 * 32 * 32 * 128 * 2 == 512 * 1024


def test_grouped_heads_of_their_own_size() -> None:
    arch = shape("mistral-small-24b")
    by_name = {x.name: x for x in arch.linear_shapes()}
    assert (by_name["q"].inputs, by_name["q"].outputs) == (5120, 32 * 128)
    assert (by_name["k"].inputs, by_name["k"].outputs) == (5120, 8 * 128)
    assert (by_name["o"].inputs, by_name["o"].outputs) == (32 * 128, 5120)
    assert by_name["down"].count == by_name["down"].active == 40
    assert arch.kv_bytes_per_token(bits=8) == 2 * 40 * 8 * 128


def test_lora_on_q_and_v_of_phi_1_5_is_what_litgpt_counted() -> None:
    shapes = [x for x in shape("phi-1.5").linear_shapes() if x.name in ("q", "v")]
    assert sum(8 * (x.inputs + x.outputs) * x.count for x in shapes) == 1_572_864


def test_stored_matrices_are_the_same_parameters() -> None:
    arch = shape("phi-3-mini-4k")
    apart, stored = arch.linear_shapes(), arch.linear_shapes(stored=True)
    assert [x.name for x in stored] == ["qkv", "o", "gate_up", "down"]
    assert sum(x.parameters() for x in apart) == sum(x.parameters() for x in stored)


def test_experts_idle_and_active() -> None:
    """The active counts that the makers state: 12.9B of 46.7B, 37B of 671B, 3.6B of 21B."""
    assert shape("mixtral-8x7b").active_parameters() == 46_702_792_704 - 32 * 6 * 3 * 4096 * 14336
    assert shape("deepseek-v3").active_parameters() == 37_552_282_624
    oss = shape("gpt-oss-20b").active_parameters() - shape("gpt-oss-20b").embedding_parameters()
    assert oss == pytest.approx(3.61e9, rel=0.01)


def test_latent_attention_caches_only_its_latent() -> None:
    arch = shape("deepseek-v2-lite")
    assert arch.kv_bytes_per_token() == 27 * (512 + 64) * 2
    names = {x.name for x in arch.block_linears(0)}
    assert names == {"q", "kv_a", "kv_b", "o", "gate", "up", "down"}
    assert {"router", "expert_up", "shared_up"} <= {x.name for x in arch.block_linears(1)}


def test_windowed_layers_keep_no_more_than_their_window() -> None:
    arch = shape("gemma-2-2b")
    width = 2 * 4 * 256 * 2
    assert arch.kv_bytes(4096) == 26 * width * 4096
    assert arch.kv_bytes(8192) == 13 * width * (8192 + 4096)
    assert arch.kv_bytes_per_token() == 26 * width


def test_an_encoder_keeps_no_cache_and_a_pair_that_of_its_decoder() -> None:
    assert shape("bert-base-uncased").kv_bytes(512) == 0
    assert shape("t5-base").kv_bytes_per_token() == 12 * 2 * 12 * 64 * 2


def test_cross_attention_is_in_the_decoder_only() -> None:
    arch = shape("t5-small")
    assert "cross_q" not in {x.name for x in arch.block_linears(5)}
    assert "cross_q" in {x.name for x in arch.block_linears(6)}
    assert arch.block_parameters(6) - arch.block_parameters(5) == 4 * 512 * 512 + 512


def test_albert_repeats_one_block() -> None:
    arch = shape("albert-base-v2")
    assert arch.block_groups() == ((0, 1),)
    assert arch.layers == 12


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="no layer 32 of 32"):
        shape("llama-2-7b").block_linears(32)


@pytest.mark.parametrize("model", models.table())
def test_the_whole_is_the_sum_of_its_parts(model: str) -> None:
    arch = shape(model)
    blocks = sum(count * arch.block_parameters(first) for first, count in arch.block_groups())
    if not arch.shared_groups:
        every = range(arch.layers + arch.decoder_layers)
        assert blocks == sum(arch.block_parameters(i) for i in every)
    stacks = 2 if arch.kind == "encoder-decoder" else 1
    finals = stacks * arch.norm_parameters(arch.hidden) if arch.final_norm else 0
    assert arch.parameters() == (
        arch.embedding_parameters() + blocks + finals + arch.head_parameters()
    )
    linears = sum(x.parameters() for x in arch.linear_shapes())
    assert linears == sum(x.parameters() for x in arch.linear_shapes(stored=True)) <= blocks
    assert 0 < arch.active_parameters() <= arch.parameters()
    assert (arch.active_parameters() < arch.parameters()) == (arch.experts is not None)


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 32},
    "qwen3_moe": {"num_key_value_heads": 2, "num_experts": 8, "moe_intermediate_size": 32},
    "deepseek_v3": {"n_routed_experts": 8, "q_lora_rank": 16, "moe_intermediate_size": 32},
    "bert": {},
    "modernbert": {},
    "deberta-v2": {"relative_attention": True, "share_att_key": True},
}
sizes = st.fixed_dictionaries(
    {
        "num_hidden_layers": st.integers(1, 12),
        "num_attention_heads": st.sampled_from([2, 4, 6, 8]),
        "intermediate_size": st.integers(8, 512),
        "vocab_size": st.integers(10, 5000),
    }
)


@given(family=st.sampled_from(sorted(FAMILIES)), size=sizes, grown=st.data())
def test_a_larger_shape_never_has_fewer_parameters(
    family: str, size: dict[str, int], grown: st.DataObject
) -> None:
    key = grown.draw(st.sampled_from(sorted(size)))
    step = grown.draw(st.sampled_from([2, 4])) if key == "num_attention_heads" else 1

    def counted(values: dict[str, int]) -> Architecture:
        width = {"hidden_size": 32 * values["num_attention_heads"]}
        return architecture({"model_type": family, **FAMILIES[family], **width, **values})

    before, after = counted(size), counted({**size, key: size[key] + step})
    # Where every layer has experts, the dense MLP's width is not used.
    assert after.parameters() > before.parameters() or (
        key == "intermediate_size" and after.parameters() == before.parameters()
    )
    assert after.active_parameters() >= before.active_parameters()
    assert after.kv_bytes(100) >= before.kv_bytes(100)
