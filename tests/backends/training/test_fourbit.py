"""Four-bit bases: their gradients are those of the same base unpacked, after an evaluation too."""

from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from backends.finetune.tuned import Base
from backends.peft import Settings, kinds
from backends.training import fourbit

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing.*deprecated:FutureWarning"
)
IDS = torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(place)
    return place


def loaded(folder: Path, quant_type: str, double_quant: bool) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=fourbit.configuration(quant_type, double_quant),
    )


def unpacked(model: Any) -> None:
    """Put in the place of each four-bit matrix what it stands for."""
    for name, module in list(model.named_modules()):
        if isinstance(module, bnb.nn.Linear4bit):
            whole = torch.nn.Linear(module.in_features, module.out_features, bias=False)
            weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
            whole.weight = torch.nn.Parameter(weight.float(), requires_grad=False)
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, whole)


def gradients(model: Any, evaluate_first: bool) -> torch.Tensor:
    base = Base(model, None, 64, frozenset(), "base", "base", "CAUSAL_LM")
    torch.manual_seed(1)
    tuned = kinds.prepared("lora", base, Settings(rank=4, dropout=0.0))
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 0.02)
        if evaluate_first:
            tuned.eval()
            tuned(input_ids=IDS)
            tuned.generate(
                input_ids=IDS[:1], attention_mask=torch.ones_like(IDS[:1]), max_new_tokens=3,
                do_sample=False, pad_token_id=0,
            )  # fmt: skip
    tuned.train()
    tuned(input_ids=IDS, labels=IDS).loss.backward()
    return torch.cat([p.grad.flatten() for p in tuned.parameters() if p.grad is not None])


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("evaluate_first", [False, True])
def test_gradients_are_those_of_the_unpacked_base(
    folder: Path, quant_type: str, double_quant: bool, evaluate_first: bool
) -> None:
    reference = loaded(folder, quant_type, double_quant)
    unpacked(reference)
    wanted = gradients(reference, evaluate_first=False)
    model = loaded(folder, quant_type, double_quant)
    assert fourbit.mended(model) == 14
    found = gradients(model, evaluate_first)
    assert float(torch.cosine_similarity(found, wanted, dim=0)) > 0.99


def test_a_model_in_full_has_nothing_to_mend(folder: Path) -> None:
    assert fourbit.mended(AutoModelForCausalLM.from_pretrained(folder)) == 0
