"""Where a step runs: here where it fits and is soon done, else on the card of its option."""

from typing import Any

import pytest
from msgspec.structs import replace

from advisor import doctor, placing
from advisor.doctor import Card, Machine

SMALL: dict[str, Any] = {
    "model": "all-minilm-l6-v2", "method": "head-ft", "train": "head", "classes": 7,
    "seq_len": 64, "examples": 500, "tokens_per_example": 30, "epochs": 1.0,
}  # fmt: skip
LARGE: dict[str, Any] = {
    "model": "qwen3-8b", "method": "lora", "lora_rank": 16, "lora_targets": "all-linear",
    "seq_len": 512, "examples": 5000, "tokens_per_example": 300, "epochs": 3.0,
}  # fmt: skip


def machine(*cards: Card) -> Machine:
    return Machine(
        system="Linux", python="3.12", processor="x", cores=8, memory_gib=64.0,
        disk_free_gib=100.0, bf16=False, cards=cards,
    )  # fmt: skip


def card(name: str, gib: float) -> Card:
    return Card(name=name, memory_gib=gib, id=name)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "machine", machine)


@pytest.mark.usefixtures("no_gpu")
def test_what_is_soon_done_on_the_processor_stays_there() -> None:
    found = placing.device(SMALL, "1x RTX4090", owned=False)
    assert found == placing.here()
    assert found.job() == {"gpu": "cpu", "n_gpus": 1, "owned": True, "cpu_cores": 8}


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("owned", [True, False])
def test_what_would_take_days_goes_to_the_option_s_card(owned: bool) -> None:
    found = placing.device(LARGE, "1x RTX4090", owned=owned)
    assert found.gpu == "RTX4090" and 23 < found.gib <= 24
    assert found.job().get("owned", False) is owned


def test_training_computes_in_bf16_where_the_device_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "machine", lambda: replace(machine(), bf16=True))
    assert placing.here().job()["autocast"] is True
    assert placing.device(LARGE, "1x RTX4090", owned=False).job()["autocast"] is True
    assert "autocast" not in placing.device(LARGE, "1x V100-SXM2-32GB", owned=False).job()


@pytest.mark.usefixtures("no_gpu")
def test_an_option_without_a_card_runs_here() -> None:
    assert placing.device(LARGE, "cpu", owned=False).gpu == "cpu"


@pytest.mark.parametrize(("gib", "name", "where"), [
    (80.0, "A100-SXM-80GB", "A100-SXM-80GB"),
    (16.0, "RTX4060Ti-16GB", "RTX4090"),
])  # fmt: skip
def test_a_card_here_is_taken_where_the_job_fits_on_it(
    monkeypatch: pytest.MonkeyPatch, gib: float, name: str, where: str
) -> None:
    monkeypatch.setattr(doctor, "machine", lambda: machine(card(name, gib)))
    assert placing.device(LARGE, "1x RTX4090", owned=False).gpu == where
