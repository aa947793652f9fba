"""Attention by matrix products: the same as torch's, and only where it is meant to be."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from backends.training import attention, precision


def llama(groups: int = 2, dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2 // groups, attention_dropout=dropout,
    )  # fmt: skip
    return LlamaForCausalLM(config).train()


@settings(max_examples=25, deadline=None)
@given(
    length=st.sampled_from([1, 2, 127, 128, 129, 256, 300]),
    heads=st.integers(1, 3),
    causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_products_are_what_torch_computes(length: int, heads: int, causal: bool, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    ours, theirs = (
        [torch.randn(2, heads, length, 4, generator=g).requires_grad_() for _ in range(3)]
        for g in (chance, torch.Generator().manual_seed(seed))
    )
    found = attention.products(*ours, 0.5, causal=causal)
    wanted = scaled_dot_product_attention(*theirs, is_causal=causal, scale=0.5)
    assert torch.allclose(found, wanted, atol=1e-5)
    found.square().sum().backward()
    wanted.square().sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, atol=1e-4)  # type: ignore[arg-type]


def test_scores_are_not_rounded_to_bf16() -> None:
    """Rounded they cost as much loss as another seed does (docs/scratch.md)."""
    torch.manual_seed(0)
    query, key, value = (8 * torch.randn(1, 1, 64, 32, dtype=torch.bfloat16) for _ in range(3))
    with precision.autocast(True):
        found = attention.products(query, key, value, 0.2, causal=False)
    weights = (query.double() @ key.double().transpose(2, 3) * 0.2).softmax(-1)
    wanted = weights.to(torch.bfloat16).double() @ value.double()
    assert torch.allclose(found.double(), wanted, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("options", "length", "masked", "taken"),
    [
        ({}, 8, False, True),
        ({"groups": 1}, 8, False, True),
        ({"dropout": 0.1}, 8, False, False),
        ({}, 8, True, False),
        ({}, attention.LONGEST + 1, False, False),
    ],
)
def test_it_is_taken_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], length: int, masked: bool, taken: bool
) -> None:
    calls = []
    real = attention.products

    def counted(*args: Any, **named: Any) -> torch.Tensor:
        calls.append(args)
        return real(*args, **named)

    monkeypatch.setattr(attention, "products", counted)
    model = llama(**options)
    ids = torch.arange(2 * length).reshape(2, length) % 11
    inputs = {"input_ids": ids}
    if masked:
        inputs["attention_mask"] = (ids > 0).long()
    torch.manual_seed(1)
    wanted = model(**inputs).logits
    attention.settle(model)
    torch.manual_seed(1)
    assert torch.equal(model(**inputs).logits, wanted)  # not compiled: as torch does it
    assert not calls
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(1)
    assert torch.allclose(model(**inputs).logits, wanted, atol=1e-5)
    assert bool(calls) == taken
    attention.restore(model)
    assert model.config._attn_implementation == "sdpa"
    assert model.model.layers[0].self_attn.config._attn_implementation == "sdpa"


def test_a_model_of_another_attention_keeps_it() -> None:
    model = llama()
    model.set_attn_implementation("eager")
    attention.settle(model)
    assert model.config._attn_implementation == "eager"
    attention.restore(model)
    assert model.config._attn_implementation == "eager"
    attention.settle(torch.nn.Linear(1, 1))  # has none


def test_a_compiled_model_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    real = attention.products

    def counted(query: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        lengths.append(query.shape[2])
        return real(query, *args, **named)

    monkeypatch.setattr(attention, "products", counted)
    model = llama()
    ids = torch.arange(2 * 140).reshape(2, 140) % 11
    wanted = model(input_ids=ids).logits
    attention.settle(model)
    runs = torch.compile(lambda ids: model(input_ids=ids).logits, backend="eager")
    assert torch.allclose(runs(ids), wanted, atol=1e-5)
    assert lengths == [140]
