"""Configs become the right architecture, or one clear line; transformers is the judge."""

from typing import Any

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

from knowledge.errors import UserError
from knowledge.families import FAMILIES, architecture
from knowledge.families.defaults import DEFAULTS

transformers.logging.set_verbosity_error()

SIZE = {
    "hidden_size": 64,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 500,
    "max_position_embeddings": 128,
}
GROUPED = {**SIZE, "num_key_value_heads": 2}
SPECIAL = {f"{kind}_token_id": 1 for kind in ("pad", "bos", "eos", "cls", "sep")}
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 300}
OPT = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 96,
    "vocab_size": 300,
}
FALCON = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 300}
QWEN_EXPERTS = {"num_experts": 6, "moe_intermediate_size": 32}
LATENT = {"num_experts_per_tok": 3, "n_routed_experts": 8, "moe_intermediate_size": 32}
MPT = {"d_model": 64, "n_heads": 4, "n_layers": 3, "vocab_size": 300}
T5 = {"d_model": 64, "d_kv": 8, "d_ff": 96, "num_layers": 3, "num_heads": 4, "vocab_size": 300}
BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "vocab_size": 300,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}

CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("llama", SIZE),
    ("llama", {**GROUPED, "attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    ("llama", {**GROUPED, "tie_word_embeddings": True}),
    ("mistral", {**GROUPED, "head_dim": 32}),
    ("ministral3", {**GROUPED, "head_dim": 32}),
    ("qwen2", GROUPED),
    ("qwen3", {**GROUPED, "head_dim": 32, "attention_bias": True}),
    ("hunyuan_v1_dense", {**GROUPED, "head_dim": 32}),
    ("gemma", GROUPED),
    ("gemma2", GROUPED),
    ("gemma3_text", GROUPED),
    ("phi", SIZE),
    ("phi", {**SIZE, "qk_layernorm": True}),
    ("phi3", GROUPED),
    ("olmo", GROUPED),
    ("olmo2", GROUPED),
    ("olmo3", GROUPED),
    ("granite", GROUPED),
    ("smollm3", GROUPED),
    ("cohere", GROUPED),
    ("cohere", {**GROUPED, "use_qk_norm": True}),
    ("stablelm", GROUPED),
    ("stablelm", {**GROUPED, "use_parallel_residual": True, "qk_layernorm": True}),
    ("stablelm", {**GROUPED, "use_qkv_bias": True}),
    ("starcoder2", GROUPED),
    ("starcoder2", {**GROUPED, "use_bias": False}),
    ("nemotron", GROUPED),
    ("mixtral", {**GROUPED, "num_local_experts": 6}),
    ("qwen2_moe", {**GROUPED, **QWEN_EXPERTS, "shared_expert_intermediate_size": 48}),
    ("qwen2_moe", {**GROUPED, **QWEN_EXPERTS, "mlp_only_layers": [1], "decoder_sparse_step": 2}),
    ("qwen3_moe", {**GROUPED, "num_experts": 8, "moe_intermediate_size": 32}),
    ("gpt_oss", {**GROUPED, "num_local_experts": 6}),
    ("deepseek_v2", {**SIZE, **LATENT, "q_lora_rank": 24, "attention_bias": True}),
    ("deepseek_v3", {**SIZE, **LATENT, "q_lora_rank": 24}),
    ("gpt2", GPT),
    ("gpt_neox", SIZE),
    ("gpt_neox", {**SIZE, "attention_bias": False, "use_parallel_residual": False}),
    ("gptj", {**GPT, "rotary_dim": 8}),
    ("opt", OPT),
    ("opt", {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    ("opt", {**OPT, "enable_bias": False, "layer_norm_elementwise_affine": False}),
    ("bloom", {"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 300}),
    ("falcon", FALCON),
    ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon", {**FALCON, "bias": True, "alibi": True, "parallel_attn": False}),
    ("falcon", {**FALCON, "multi_query": False}),
    ("mpt", MPT),
    ("bert", SIZE),
    ("roberta", SIZE),
    ("xlm-roberta", SIZE),
    ("distilbert", {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 96}),
    ("electra", {**SIZE, "embedding_size": 32}),
    ("electra", {**SIZE, "embedding_size": 64}),
    ("albert", {**SIZE, "embedding_size": 32}),
    ("albert", {**SIZE, "embedding_size": 32, "num_hidden_groups": 2}),
    ("mpnet", SIZE),
    ("deberta-v2", SIZE),
    ("deberta-v2", {**SIZE, **RELATIVE, "type_vocab_size": 2}),
    (
        "deberta-v2",
        {
            **SIZE,
            **RELATIVE,
            "position_buckets": 16,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
            "position_biased_input": False,
        },
    ),
    ("modernbert", SIZE),
    ("modernbert", {**SIZE, "norm_bias": True, "attention_bias": True, "mlp_bias": True}),
    ("t5", T5),
    ("t5", {**T5, "num_decoder_layers": 2, "feed_forward_proj": "gated-gelu"}),
    ("mt5", {**T5, "tie_word_embeddings": True}),
    ("bart", BART),
]
# Published with code of their own, which transformers does not hold.
FOREIGN = {"qwen", "baichuan", "chatglm"}
CLASSES = {
    "decoder": AutoModelForCausalLM,
    "encoder": AutoModel,
    "encoder-decoder": AutoModelForSeq2SeqLM,
}


def counted(auto: Any, config: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in auto.from_config(config).parameters())


@pytest.mark.parametrize(("family", "config"), CONFIGS)
def test_parameters_are_those_of_the_real_class(family: str, config: dict[str, Any]) -> None:
    arch = architecture({"model_type": family, **config})
    real = AutoConfig.for_model(family, **{**SPECIAL, **config})
    assert arch.parameters() == counted(CLASSES[arch.kind], real)


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "electra", "mpnet", "modernbert", "albert"]
)
def test_masked_lm_heads_are_those_of_the_real_class(family: str) -> None:
    config = next(config for name, config in CONFIGS if name == family)
    real = AutoConfig.for_model(family, **{**SPECIAL, **config})
    arch = architecture({"model_type": family, **config})
    assert arch.masked_lm_parameters() == counted(AutoModelForMaskedLM, real)


def test_every_family_is_tried() -> None:
    assert {family for family, _ in CONFIGS} | FOREIGN == set(FAMILIES) == set(DEFAULTS)


@pytest.mark.parametrize("family", sorted(set(DEFAULTS) - FOREIGN))
def test_defaults_are_those_of_the_configuration_class(family: str) -> None:
    # A Qwen config without a window in use forgets its size.
    real = AutoConfig.for_model(
        family, **({"use_sliding_window": True} if "qwen" in family else {})
    )
    ours = dict(DEFAULTS[family])
    if family == "mt5":  # published configs say untied; 5.x ties whatever they say
        assert ours.pop("tie_word_embeddings") is False
    assert {key: getattr(real, key) for key in ours} == ours


def test_windows_fall_where_transformers_puts_them() -> None:
    for family, extra in (
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("gpt_oss", {}),
        ("olmo3", {}),
        ("modernbert", {}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 3}),
    ):
        config = {**(SIZE if family == "modernbert" else GROUPED), "num_hidden_layers": 7, **extra}
        real = AutoConfig.for_model(family, **{**SPECIAL, **config})
        arch = architecture({"model_type": family, **config})
        assert arch.windowed_layers == real.layer_types.count("sliding_attention") > 0
        assert arch.window == real.sliding_window * (2 if family == "modernbert" else 1)


def test_a_layer_list_overrules_the_pattern() -> None:
    kinds = ["full_attention"] * 6 + ["sliding_attention"]
    config = {**GROUPED, "num_hidden_layers": 7, "layer_types": kinds}
    assert architecture({"model_type": "gemma2", **config}).windowed_layers == 1


def test_the_text_part_of_a_config_with_vision() -> None:
    """Gemma 3 4B leaves out heads, head size and vocabulary, which equal its class's defaults."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    config = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 1152}}
    assert architecture(config).parameters() == 3_880_263_168


LLAMA = {"model_type": "llama", **GROUPED}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' can't be estimated in closed form"),
        ({"hidden_size": 8}, "no 'model_type'"),
        ({"model_type": "llama", "hidden_size": 8}, "needs the key 'num_attention_heads'"),
        ({**LLAMA, "hidden_size": 0}, "hidden_size 0; give a positive whole number"),
        ({**LLAMA, "num_hidden_layers": -2}, "num_hidden_layers -2"),
        ({**LLAMA, "vocab_size": "many"}, "vocab_size 'many'"),
        ({**LLAMA, "vocab_size": 12.5}, "vocab_size 12.5"),
        ({**LLAMA, "num_hidden_layers": True}, "num_hidden_layers True"),
        ({**LLAMA, "tie_word_embeddings": "yes"}, "give true or false"),
        ({**LLAMA, "attention_dropout": 3}, "attention_dropout 3; give a number from 0 to 1"),
        ({**LLAMA, "hidden_act": 7}, "hidden_act 7; give a word"),
        ({**LLAMA, "num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"),
        ({**LLAMA, "hidden_size": 66}, "num_attention_heads 4 does not divide"),
        ({"model_type": "gemma2", **GROUPED, "layer_types": "all"}, "give a list"),
        ({"model_type": "phi", **SIZE, "rope_parameters": 3}, "give an object"),
        (
            {"model_type": "mixtral", **GROUPED, "num_local_experts": 2, "num_experts_per_tok": 4},
            "num_experts_per_tok 4",
        ),
        (
            {"model_type": "mpt", "d_model": 64, "n_heads": 4, "n_layers": 3, "no_bias": False},
            "mpt",
        ),
        ({"model_type": "deberta-v2", **SIZE, "conv_kernel_size": 3}, "convolution"),
        ({"model_type": "deberta-v2", **SIZE, "embedding_size": 32}, "embedding_size"),
        ({"model_type": "deberta-v2", **SIZE, "position_buckets": 1.5, **RELATIVE}, "whole number"),
        ({"model_type": "albert", **SIZE, "inner_group_num": 2}, "inner_group_num"),
        ({"model_type": "bart", **BART, "decoder_ffn_dim": 32}, "decoder_ffn_dim 32"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(config: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        architecture(config)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
