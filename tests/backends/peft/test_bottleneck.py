import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForCausalLM,
    BartConfig,
    BertConfig,
    BloomConfig,
    DebertaV2Config,
    DistilBertConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    ModernBertConfig,
    MPNetConfig,
    OPTConfig,
    Phi3Config,
    ResNetConfig,
    T5Config,
)

from backends.peft import bottleneck
from backends.peft.bottleneck import Bottleneck
from knowledge.errors import UserError

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 50,
}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = LlamaConfig(**SIZES, num_key_value_heads=1)
CONFIGS = [
    BertConfig(**SIZES),
    AlbertConfig(**SIZES, embedding_size=16),
    MPNetConfig(**SIZES),
    DebertaV2Config(**SIZES),
    ModernBertConfig(**SIZES, **MARKS, cls_token_id=1, sep_token_id=2),
    DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=50, bos_token_id=1, eos_token_id=2),
    GPTNeoXConfig(**SIZES),
    LLAMA,
    Gemma3TextConfig(**SIZES, num_key_value_heads=1, head_dim=16),
    Phi3Config(**SIZES, **MARKS),
    OPTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        vocab_size=50,
        word_embed_proj_dim=32,
    ),
    BloomConfig(hidden_size=32, n_layer=2, n_head=2, vocab_size=50),
    T5Config(d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=50),
    BartConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        vocab_size=50,
    ),
    MixtralConfig(**SIZES, num_key_value_heads=1, num_local_experts=4),
]
IDS = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(0))


def states(model: Any) -> torch.Tensor:
    more = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    found: torch.Tensor = model(input_ids=IDS, **more).last_hidden_state
    return found


def stir(parameters: dict[str, torch.nn.Parameter]) -> None:
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in parameters.values():
            p.copy_(torch.randn(p.shape, generator=chance) * 0.3)


@pytest.mark.parametrize("form", ["sequential", "parallel"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_any_transformer_is_the_same_at_first_and_every_adapter_then_learns(
    config: Any, form: Any
) -> None:
    torch.manual_seed(0)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        plain = states(model)
    new = bottleneck.insert(model, Bottleneck(form, width=4))
    with torch.no_grad():
        assert torch.equal(states(model), plain)
    layers = 1 if config.model_type == "albert" else 2 * (1 + config.is_encoder_decoder)
    assert sum(p.numel() for p in new.values()) == layers * 2 * (2 * 32 * 4 + 4 + 32)
    stir(new)
    out = states(model)
    assert not torch.allclose(out, plain, atol=1e-2)
    (out * torch.randn(out.shape)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in new.values())
    others = [p for name, p in model.named_parameters() if name not in new]
    assert not any(p.requires_grad for p in others)


def test_they_compute_what_the_papers_say() -> None:
    torch.manual_seed(0)
    base = AutoModel.from_config(LLAMA).eval().layers[0].mlp
    x = torch.randn(2, 3, 32)
    for form, scale in (("sequential", 1.0), ("parallel", 4.0)):
        model = AutoModel.from_config(LLAMA).eval()
        model.layers[0].mlp.load_state_dict(base.state_dict())
        settings = Bottleneck(form, 4, "feed-forward", (0,), scale=scale)
        stir(bottleneck.insert(model, settings))
        own = model.layers[0].adapters["feed_forward"]
        out = base(x)
        read = x if form == "parallel" else out
        inside = torch.relu(read @ own.down.weight.T + own.down.bias)
        expected = out + scale * (inside @ own.up.weight.T + own.up.bias)
        torch.testing.assert_close(model.layers[0].mlp(x), expected)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Bottleneck(after="attention"), {"0.adapters.attention", "1.adapters.attention"}),
        (Bottleneck(after="feed-forward", layers=(1,)), {"1.adapters.feed_forward"}),
        (Bottleneck(layers=(0,)), {"0.adapters.attention", "0.adapters.feed_forward"}),
    ],
)
def test_they_stand_where_it_is_said(settings: Bottleneck, names: set[str]) -> None:
    new = bottleneck.insert(AutoModel.from_config(LLAMA), settings)
    assert {name.removeprefix("layers.").rsplit(".", 2)[0] for name in new} == names


@pytest.mark.parametrize("form", ["sequential", "parallel"])
def test_they_are_saved_and_loaded_exactly(tmp_path: Path, form: Any) -> None:
    torch.manual_seed(0)
    base = AutoModel.from_config(CONFIGS[0]).eval()
    model = copy.deepcopy(base)
    settings = Bottleneck(form, 8, layers=(1,), scale=2.0, activation="gelu")
    stir(bottleneck.insert(model, settings))
    bottleneck.save(model, settings, tmp_path, whole=())
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert bottleneck.load(base, tmp_path) == settings
    with torch.no_grad():
        assert torch.equal(states(base), states(model))
    with pytest.raises(UserError, match="do not fit a LlamaModel"):
        bottleneck.load(AutoModel.from_config(LLAMA), tmp_path)
    with pytest.raises(UserError, match="holds no bottleneck adapters"):
        bottleneck.load(AutoModel.from_config(LLAMA), tmp_path / "nothing")


def test_a_copy_has_adapters_of_its_own() -> None:
    model = AutoModel.from_config(CONFIGS[0]).eval()
    stir(bottleneck.insert(model, Bottleneck("parallel", 4)))
    other = copy.deepcopy(model)
    with torch.no_grad():
        before = states(other)
        for p in bottleneck.new_parameters(model).values():
            p.zero_()
        assert torch.equal(states(other), before)
        assert not torch.equal(states(model), before)


def test_recomputing_activations_changes_no_gradient() -> None:
    grads = []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = AutoModel.from_config(CONFIGS[0]).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        new = bottleneck.insert(model, Bottleneck("parallel", 4))
        stir(new)
        if recompute:
            model.activation_checkpointing_enable()
        states(model).square().sum().backward()
        grads.append([p.grad for p in new.values()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_without_weights_gets_them_without_a_byte() -> None:
    big = LlamaConfig(
        hidden_size=4096, num_hidden_layers=4, intermediate_size=11008, num_attention_heads=32
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(big, dtype=torch.bfloat16)
    new = bottleneck.insert(model, Bottleneck(width=64), dtype=torch.bfloat16)
    assert all(p.is_meta and p.dtype is torch.bfloat16 for p in new.values())
    assert sum(p.numel() for p in new.values()) == 4 * 2 * (2 * 4096 * 64 + 64 + 4096)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        ids = torch.zeros((1, 16), dtype=torch.long)
        model(input_ids=ids, labels=ids).loss.backward()
    fresh = bottleneck.new_parameters(model)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in fresh.values())


def test_what_cannot_be_is_said_in_one_line() -> None:
    model = AutoModel.from_config(LLAMA)
    with pytest.raises(UserError, match="layers: 2 of a model with 2 layers"):
        bottleneck.insert(model, Bottleneck(layers=(0, 2)))
    bottleneck.insert(model, Bottleneck())
    with pytest.raises(UserError, match="has bottleneck adapters already"):
        bottleneck.insert(model, Bottleneck())
    resnet = AutoModel.from_config(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
    )
    with pytest.raises(UserError, match="no blocks of attention"):
        bottleneck.insert(resnet, Bottleneck())
