"""Methods: every word of the contract is a row, and every row's physics can be evaluated."""

from collections import Counter

import pytest

from advisor.estimates import parameters
from advisor.estimates.targets import WORDS
from knowledge import methods, models
from knowledge.errors import UserError

CONTRACT = [
    "inference", "full-ft", "head-ft", "lora", "qlora", "dora", "adapter-sequential",
    "adapter-parallel", "soft-prompt", "prefix", "ia3", "cpt", "scratch", "reward-model", "dpo",
    "ppo", "grpo", "prompt", "rag", "adalora", "p-tuning", "boft", "oft", "loha", "lokr", "vera",
    "llama-adapter",
]  # fmt: skip
ROWS = list(methods.table().values())


@pytest.mark.parametrize("name", CONTRACT)
def test_contract_methods_are_rows(name: str) -> None:
    assert methods.find(name).id == name


@pytest.mark.parametrize(
    ("name", "row"),
    [("sft", "full-ft"), ("pretrain", "scratch"), ("rlhf", "ppo"), ("Prompt Tuning", "soft-prompt")]
)  # fmt: skip
def test_other_names(name: str, row: str) -> None:
    assert methods.find(name).id == row


def test_names_are_unique() -> None:
    counts = Counter(name for row in ROWS for name in (row.id, *row.aliases))
    assert [name for name, count in counts.items() if count > 1] == []


def test_backends_of_the_foundation() -> None:
    assert {row.id: row.backend for row in ROWS if row.backend} == {
        "head-ft": "finetune", "full-ft": "finetune", "rag": "rag", "prompt": "prompting",
        "lora": "peft", "qlora": "peft", "dora": "peft", "ia3": "peft", "soft-prompt": "peft",
        "p-tuning": "peft", "prefix": "peft", "adapter-sequential": "peft",
        "adapter-parallel": "peft", "curate": "curation", "cpt": "scratch", "scratch": "scratch",
        "reward-model": "alignment", "dpo": "alignment", "ppo": "alignment", "grpo": "alignment",
    }  # fmt: skip


def test_every_approach_has_a_method() -> None:
    words = [
        "prompt", "rag", "head-ft", "full-ft", "lora", "qlora", "adapters", "soft-prompt", "cpt",
        "dpo", "ppo", "scratch",
    ]  # fmt: skip
    assert {row.approach for row in ROWS} - {None} == set(words)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_rows_are_sourced_and_whole(row: methods.Method) -> None:
    assert row.source.startswith("https://")
    assert row.says.endswith(".")
    assert 20 < len(row.says) < 160
    assert row.adapter == "" or row.adapter in methods.table()
    assert all(word in WORDS for word in filter(None, row.targets.split(",")))
    if row.trains == "added":
        assert row.added != methods.Added()


@pytest.mark.parametrize("row", [r for r in ROWS if r.trains == "added"], ids=lambda row: row.id)
def test_added_parameters_are_positive(row: methods.Method) -> None:
    arch = models.find("llama-3.2-1b").architecture()
    sizes = {**parameters.model_sizes(arch), **row.defaults}
    assert 0 < parameters.added(arch, row.added, row.targets, sizes) < arch.parameters()


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'qlora'"):
        methods.find("qlorra")
