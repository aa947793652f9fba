"""`advisor estimate --trace` and `--measure`: the estimate beside the job's own code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from advisor import job as jobs
from advisor import tracing

JOB = (
    "--method", "lora", "--lora-rank", "4", "--seq-len", "64", "--micro-batch", "2",
    "--checkpointing", "none", "--weights-dtype", "fp32", "--no-autocast",
)  # fmt: skip
TINY = {
    "model_type": "llama", "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 8,
    "intermediate_size": 344, "vocab_size": 1000, "max_position_embeddings": 512,
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    return str(tmp_path)


def test_trace_stands_beside_the_estimate(command: Any) -> None:
    done = command("estimate", "smollm2-135m", *JOB, "--trace", "--json")
    assert done.code == 0
    trace = done.json["trace"]
    assert trace["estimate_gib"] == done.json["memory_gib"]["allocated"]["mid"]
    assert trace["allocated_gib"] == max(trace["phases_gib"].values())
    assert trace["traced_layers"] == [[2], [3]]
    assert trace["layers"] == [30]
    assert trace["estimate_error"] == pytest.approx(
        trace["estimate_gib"] / trace["allocated_gib"] - 1
    )


def test_trace_says_which_module_holds_the_peak(command: Any) -> None:
    done = command("estimate", "smollm2-135m", *JOB, "--trace")
    assert "model.layers.*.mlp holds the most" in done.out
    assert "off the trace" in done.out


def test_measure_runs_the_steps_here(command: Any, tiny: str) -> None:
    done = command("estimate", tiny, *JOB, "--measure", "--trace", "--json")
    assert done.code == 0, done.err
    seen, traced = done.json["measured"], done.json["trace"]
    assert seen["seconds_per_step"] > 0
    workspace = traced["by_kind_gib"]["library workspace"] if seen["device"] == "cpu" else 0
    assert seen["allocated_gib"] == pytest.approx(traced["allocated_gib"] - workspace, rel=0.3)
    assert "Measured on" in command("estimate", tiny, *JOB, "--measure").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("llama-3.1-405b", "--method", "full-ft", "--measure"), "GiB free"),
        (("llama-3.1-8b", "--method", "lora", "--n-gpus", "2", "--tp", "2", "--trace"), "tp is 2"),
        (("llama-3.1-8b", "--method", "rag", "--trace"), "runs no model"),
        (("qwen-7b", "--method", "full-ft", "--trace"), "cannot trace"),
        (("--jobs", "some.jsonl", "--trace"), "drop the other flags"),
    ],
)
def test_what_cannot_run_is_one_line(command: Any, arguments: tuple[str, ...], says: str) -> None:
    done = command("estimate", *arguments)
    assert done.code == 2
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_family_without_formulas_is_traced_alone(command: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({**TINY, "model_type": "glm", "pad_token_id": 0})
    )
    words = ("estimate", tmp_path, "--method", "full-ft", "--seq-len", "32")
    done = command(*words, "--trace", "--json")
    assert done.code == 0, done.err
    assert done.json["trace"]["estimate_gib"] is None
    assert done.json["trace"]["allocated_gib"] > 0
    assert "no formulas" in command(*words, "--trace").out
    assert command(*words).code == 2


def test_only_the_document_is_printed() -> None:
    words = ["-m", "advisor", "estimate", "smollm2-135m", *JOB, "--trace", "--json"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["trace"]["layers"] == [30]
    assert done.stderr == ""


def test_the_trace_runs_the_job_that_the_estimate_assumes() -> None:
    said = tracing.request(jobs.settled({"model": "llama-3.1-8b", "method": "qlora"}))
    assert (said.quant, said.checkpointing, said.seq_len) == ("nf4-dq", "full", 2048)
    assert said.lora_targets == "attention-and-mlp"
    assert said.weights_dtype == "bf16"
