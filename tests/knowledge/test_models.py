"""The catalogue of models: integrity of the rows, published counts, and the real classes."""

import re
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

from knowledge import models
from knowledge.errors import UserError
from knowledge.names import squeezed

transformers.logging.set_verbosity_error()

TABLE = models.table()
PUBLISHED = [key for key, model in TABLE.items() if model.parameters_published]
NATIVE = [
    key
    for key, model in TABLE.items()
    if model.config["model_type"] not in ("qwen", "baichuan", "chatglm")
]
CLASSES: dict[str, Any] = {
    "causal-lm": AutoModelForCausalLM,
    "base": AutoModel,
    "masked-lm": AutoModelForMaskedLM,
    "seq2seq-lm": AutoModelForSeq2SeqLM,
}


@pytest.mark.parametrize("key", PUBLISHED)
def test_the_computed_count_is_the_published_one(key: str) -> None:
    assert TABLE[key].parameters() == TABLE[key].parameters_published


@pytest.mark.slow
@pytest.mark.parametrize("key", NATIVE)
def test_the_computed_count_is_that_of_the_real_class(key: str) -> None:
    model = TABLE[key]
    config = AutoConfig.for_model(**model.config)
    with torch.device("meta"):
        real = CLASSES[model.counts].from_config(config)
    count = sum(p.numel() for p in real.parameters())
    if model.kind == "encoder-decoder" and not model.config.get("tie_word_embeddings", True):
        # transformers 5 ties these heads when it makes a model, not when it loads the weights.
        count += config.vocab_size * config.d_model
    assert model.parameters() == count


def test_enough_of_each_kind() -> None:
    kinds = {model.config["model_type"] for model in TABLE.values()}
    assert len(TABLE) >= 60
    assert len(PUBLISHED) >= 40
    assert {"t5", "mt5", "deberta-v2", "mixtral", "qwen3_moe", "deepseek_v3", "gpt_oss"} <= kinds
    assert {model.kind for model in TABLE.values()} == {"decoder", "encoder", "encoder-decoder"}
    counts = [model.parameters() for model in TABLE.values()]
    assert min(counts) < 25e6
    assert max(counts) > 650e9
    assert {model.use for model in TABLE.values()} >= {"base", "chat", "embedding", "encoder"}


@pytest.mark.parametrize("key", TABLE)
def test_a_row_is_whole(key: str) -> None:
    model = TABLE[key]
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", model.id)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", model.hub)
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", model.licence)
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", model.released)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", model.checked)
    assert model.source.startswith("https://")
    assert model.languages
    assert (model.parameters_published is None) == (model.parameters_source is None)
    arch = model.architecture()
    assert arch.kind == model.kind
    assert 128 <= model.context <= 1_048_576
    assert arch.context is None or model.context <= arch.context
    assert (model.counts == "causal-lm") == (model.kind == "decoder")
    assert (model.counts == "seq2seq-lm") == (model.kind == "encoder-decoder")


def test_no_name_means_two_models() -> None:
    owners: dict[str, set[str]] = {}
    for key, model in TABLE.items():
        for name in (key, *model.names()):
            owners.setdefault(squeezed(name), set()).add(key)
    assert {name: keys for name, keys in owners.items() if len(keys) > 1} == {}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("LLAMA3.1_8B", "llama-3.1-8b"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2"),
        ("Moonlight-16B-A3B (MLA+MoE)", "moonlight-16b-a3b"),
        ("T0_3B (T5-XL)", "t0-3b"),
        ("phi-1_5", "phi-1.5"),
        ("Qwen-72B", "qwen-72b"),
        ("bloomz-7b1", "bloom-7b1"),
        ("gemma-3-4b-it", "gemma-3-4b"),
    ],
)
def test_usual_names_are_understood(name: str, key: str) -> None:
    assert models.find(name).id == key


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean .*llama-3\.1-8b"):
        models.find("lama-3.1-8b")
    with pytest.raises(UserError, match=r"could be .*mixtral-8x7b"):
        models.find("mixtral")
