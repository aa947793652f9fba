"""Compiling: where it pays, what is kept of it, and that it learns the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from backends.base import Context, Interrupted
from backends.scratch.measures import Reader
from backends.scratch.objectives import causal
from backends.training import Training, compiling, precision, trainer
from backends.training.meter import Meter
from backends.training.streaming import Course, Taught, teach

HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def context(folder: Path, resume: bool = False, stop: Any = None) -> Context:
    folder.mkdir(exist_ok=True)
    return Context(folder, resume=resume, should_stop=stop)


@pytest.mark.parametrize(
    ("seconds", "steps", "bf16", "layers", "wanted"),
    [
        (0.04, 2000, True, 4, True),
        (0.04, 2000, False, 4, False),
        (0.04, 2000, True, 24, False),
        (0.04, 1000, True, 4, False),
        (0.5, 2000, False, 4, True),
    ],
)
def test_it_pays_where_it_saves_more_than_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int, bf16: bool,
    layers: int, wanted: bool,
) -> None:  # fmt: skip
    clock = [0.0]
    monkeypatch.setattr(compiling.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(precision, "bf16", lambda wish: bf16)
    monkeypatch.setattr(precision, "device", lambda: "cpu")
    model = torch.nn.Linear(1, 1)
    model.config = type("Config", (), {"num_hidden_layers": layers})()  # type: ignore[assignment]

    def learn() -> torch.Tensor:
        clock[0] += seconds
        return model(torch.ones(1, 1)).sum()

    assert compiling.pays(model, learn, steps, None, context(tmp_path)) == wanted
    assert model.weight.grad is None


@pytest.mark.parametrize("kept", [True, False])
def test_a_resumed_run_goes_on_as_it_began(tmp_path: Path, kept: bool) -> None:
    def learn() -> torch.Tensor:
        raise AssertionError("it is measured again")

    compiling.keep(context(tmp_path), compiled=kept)
    again = context(tmp_path, resume=True)
    assert compiling.pays(torch.nn.Linear(1, 1), learn, 10**6, None, again) == kept
    assert compiling.pays(torch.nn.Linear(1, 1), learn, 10**6, not kept, again) != kept


@pytest.mark.parametrize(("able", "wanted"), [(True, "bf16"), (False, "fp32")])
def test_a_compiled_model_takes_bf16_where_it_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, wanted: str
) -> None:
    def learn() -> torch.Tensor:
        raise AssertionError("it is measured")

    monkeypatch.setattr(precision, "bf16", lambda wish: able)
    monkeypatch.setattr(precision, "device", lambda: "cpu")
    model, settings = torch.nn.Linear(1, 1), Training(precision="auto")
    found = trainer.arithmetic(model, learn, 20, settings, context(tmp_path), compiled=True)
    assert found == wanted


def test_without_a_compiler_it_learns_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda runs: broken)
    _, found = taught(tmp_path / "run", compile=True)
    assert not found.compiled
    assert "no C++ compiler" in found.trained.notes[0]
    assert (tmp_path / "run" / compiling.COMPILED).read_text() == "no"


class Tokens:
    """Random rows, a function of how many were given."""

    def __init__(self) -> None:
        self.tokens = 0

    def __next__(self) -> Any:
        rows = np.random.default_rng(self.tokens).integers(0, 11, (3, 9)).cumsum(axis=1) % 11
        self.tokens += 24
        return rows

    def __iter__(self) -> Iterator[Any]:
        return self

    def state(self) -> dict[str, Any]:
        return {"tokens": self.tokens}

    def restore(self, state: dict[str, Any]) -> None:
        self.tokens = state["tokens"]


def taught(folder: Path, resume: bool = False, stop: Any = None, arithmetic: Any = "fp32",
           **options: Any) -> tuple[Any, Taught]:  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    model, reader = LlamaForCausalLM(config), Reader(causal, 8, 3)
    course = Course(
        stream=Tokens(), loss=reader.loss(1e-3), prepared=reader.batch, evaluate=None, data="same",
        steps=12, save_steps=5, evaluate_steps=100, **options,
    )  # fmt: skip
    settings = Training(
        learning_rate=0.01, micro_batch=3, precision=arithmetic, logging_steps=1, warmup=2
    )
    groups = [{"params": list(model.parameters()), "lr": 0.01}]
    with Meter() as meter:
        found = teach(model, groups, course, settings, context(folder, resume, stop), meter)
    return model, found


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_compiled_it_learns_the_same_and_resumes_bitwise(tmp_path: Path) -> None:
    plain, _ = taught(tmp_path / "plain", compile=False)
    model, found = taught(tmp_path / "whole", compile=True)
    if not found.compiled:
        pytest.skip(f"no compiler here: {found.trained.notes}")
    assert model.config._attn_implementation == "sdpa"
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-4)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        taught(tmp_path / "cut", compile=True, stop=lambda: next(calls) == 6)
    again, rest = taught(tmp_path / "cut", resume=True)
    assert rest.compiled
    assert rest.trained.resumed_from == 7
    assert all(
        torch.equal(mine, other)
        for mine, other in zip(again.parameters(), model.parameters(), strict=True)
    )
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert lines[0] == lines[1]


@pytest.mark.skipif(
    not HUGE.is_file() or "[never]" in HUGE.read_text(), reason="no large pages here"
)
def test_large_tensors_lie_in_large_pages() -> None:
    code = (
        "import resource, backends.training, torch\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "before = faults(); torch.ones(64 << 20, dtype=torch.uint8); print(faults() - before)"
    )
    told = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told
    )
    assert int(ran.stdout) < 64 * 256 / 4  # pages of 4 KB would be 16,384
