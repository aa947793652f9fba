"""Commands that answer at once: estimate, catalog, explain, doctor, data, and bad input."""

import json
import re
from pathlib import Path

import click
import pytest

from advisor.cli import COMMANDS, advisor, guarded
from knowledge import SAMPLES, gpus, methods

BILL = (
    "estimate", "llama-3.1-8b", "--method", "qlora", "--gpu", "rtx-4090",
    "--seq-len", "2048", "--micro-batch", "1",
)  # fmt: skip
PROFILE = SAMPLES / "profile_support.yaml"
SUPPORT = SAMPLES / "support" / "train.csv"
FROZEN = Path(__file__).parents[2] / "golden" / "flags.txt"


def test_a_bill_adds_up_and_says_that_it_fits(command) -> None:
    answer = command(*BILL, "--json").json
    memory = answer["memory_gib"]
    assert answer["fits"] is True
    assert 6 < memory["allocated"]["mid"] < 12
    assert sum(line["gib"] for line in memory["lines"]) == pytest.approx(
        memory["allocated"]["mid"], rel=1e-6
    )
    for kind in ("allocated", "reserved", "card"):
        assert memory[kind]["low"] <= memory[kind]["mid"] <= memory[kind]["high"]
    assert answer["time"]["gpu_hours"] is None
    assert answer["sources"] and answer["assumptions"]


def test_a_bill_is_readable_at_80_columns(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = command(*BILL).out
    assert shown.splitlines()[0].endswith("fits")
    assert max(len(line) for line in shown.splitlines()) <= 80
    for word in ("weights", "logits", "optimizer states", "allocated", "card"):
        assert word in shown


def test_jobs_answer_in_order_and_a_bad_one_is_a_line(command, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    rows = [
        {"id": "a", "model": "llama-2-7b", "method": "lora", "seq_len": 512},
        {"id": "b", "model": "lama-2-7b", "method": "lora"},
        {"id": "c", "model": "gpt2", "method": "full-ft", "tensor_parallel": 1},
    ]
    jobs.write_text("\n".join(map(json.dumps, rows)) + "\nnot json\n", encoding="utf-8")
    done = command("estimate", "--jobs", jobs)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [answer["id"] for answer in answers] == ["a", "b", "c", "line-4"]
    assert ["error" in answer for answer in answers] == [False, True, False, True]
    assert "llama-2-7b" in answers[1]["error"]
    assert done.code == 2 and "2 of the jobs" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("estimate",), "no MODEL"),
        (("fit",), "no MODEL"),
        (("fit", "llama-3.1-8b"), "no GPU to fit"),
        (("estimate", "llama-3.1-9b"), "llama-3.1-8b"),
        (("estimate", "llama-3.1-8b", "--gpu", "h10"), "h10.*H100"),
        (("estimate", "llama-3.1-8b", "--gpu", "h100"), "could be H100"),
        (("estimate", "llama-3.1-8b", "--micro-batch", "-1"), "micro_batch.*-1"),
        (("estimate", "llama-3.1-8b", "--seq-len", "many"), "seq_len.*many"),
        (("estimate", "llama-3.1-8b", "--methd", "lora"), "--methd"),
        (("estimate", "llama-3.1-8b", "--tokens", "inf"), "tokens.*inf.*number"),
        (("estimate", "llama-3.1-8b", "--tokens", "nan"), "tokens.*nan"),
        (("estimate", "llama-3.1-8b", "--seq-len", "10000000"), "1 to 262144"),
        (("estimate", "llama-3.1-8b", "--method", "lora", "--lora-rank", "9999"), "1 to 4096"),
        (("estimate", "llama-3.1-8b", "--tp", "3"), "tp is 3.*32 heads"),
        (("estimate", "llama-3.1-8b", "--method", "full-ft", "--quant", "nf4"), "quant is 'nf4'"),
        (("estimate", "llama-3.1-8b", "--usd-per-kwh", "0"), "usd_per_kwh.*more than 0"),
        (("estimate", "llama-3.1-8b", "--tokens-off", "0.5"), "tokens_off.*at least 1"),
        (("calibrate", "nowhere"), "is off"),
        (("estimate", "--jobs", "nowhere.jsonl"), "nowhere.jsonl"),
        (("recommend", "nowhere.yaml"), "nowhere.yaml"),
        (("run", "nowhere.yaml"), "nowhere.yaml"),
        (("predict", ".", "hello"), "is no run"),
        (("explain", "qlorra"), "qlora"),
        (("catalog", "gpus", "rtx4091"), "RTX4090"),
        (("catalog", "animals"), "animals"),
        (("data", "nowhere.csv"), "nowhere.csv"),
        (("estimat",), "estimate"),
        (("ask", "--set", "privacy"), "KEY=VALUE"),
        (("ask", "--set", "privcy=on-prem"), "privacy"),
        (("ask", "--set", "privacy=nobody"), "allowed.*on-prem"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, arguments, says: str) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert done.err.startswith("error: ")
    assert re.search(says, done.err), done.err


def test_fit_says_what_fits_and_what_helps(command) -> None:
    asked = ("fit", "llama-3.1-8b", "--method", "lora", "--gpu", "rtx-4090", "--seq-len", "2048")
    found = command(*asked, "--json").json
    assert found["micro_batch"]["likely"] >= 1
    assert found["changes"]
    shown = command(*asked).out
    assert "longest sequence" in shown and "mildest first" in shown


@pytest.mark.parametrize("kind", ["models", "gpus", "prices", "methods", "rules", "evidence"])
def test_every_catalogue_is_listed_with_its_sources(command, kind: str) -> None:
    rows = command("catalog", kind, "--json").json
    assert len(rows) >= 20
    assert all(row.get("source") or row.get("evidence") for row in rows)
    assert rows[-1]["id"] in command("catalog", kind).out


@pytest.mark.parametrize("name", ["qlora", "logits and loss", "optimizer states", "rtx-4090"])
def test_explain_gives_a_formula_or_a_source(command, name: str) -> None:
    row = command("explain", name, "--json").json
    assert row.get("why") or row.get("says") or row.get("source")


def test_doctor_says_what_runs(command) -> None:
    health = command("doctor", "--json").json
    runs = {row["method"]: row["runs"] for row in health["methods"]}
    assert set(runs) == set(methods.table())
    assert runs["head-ft"] and runs["rag"] and runs["ppo"]
    assert not any(runs[row.id] for row in methods.table().values() if row.backend is None)
    assert "runs here" in command("doctor").out


def test_doctor_never_shows_the_key(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hidden@127.0.0.1:9/v1")
    for arguments in (("doctor",), ("doctor", "--json")):
        done = command(*arguments)
        assert "sk-secret" not in done.out + done.err
        assert "hidden" not in done.out + done.err
        assert "does not answer" in done.out


def test_data_tells_what_a_file_holds(command) -> None:
    facts = command("data", SUPPORT, "--other", SUPPORT.with_name("test.csv"), "--json").json
    assert facts["shape"] == "labelled" and len(facts["labels"]) == 8
    assert facts["overlap"] == 0
    assert "8 labels" in command("data", SUPPORT).out


def test_flags_are_frozen() -> None:
    """A changed flag changes users' scripts: it needs a changelog entry and a kept alias."""
    context = click.Context(advisor)
    lines = []
    for name in COMMANDS:
        found = advisor.get_command(context, name)
        assert found is not None
        flags = sorted(o for p in found.params for o in (*p.opts, *p.secondary_opts))
        lines.append(f"{name}: {' '.join(flags)}")
    assert "\n".join(lines) + "\n" == FROZEN.read_text(encoding="utf-8")


def test_every_gpu_can_be_estimated_on(command, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    rows = [{"id": name, "model": "llama-3.2-1b", "gpu": name} for name in gpus.table()]
    jobs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = command("estimate", "--jobs", jobs)
    assert done.code == 0
    assert len(done.out.splitlines()) == len(rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ("recommend", PROFILE, "--report", "none/x.html"),
        ("recommend", PROFILE, "--plan-out", "none/x.yaml"),
        ("plan", PROFILE, "--out", "none/x.yaml"),
        ("ask", "--answers", PROFILE, "--out", "none/x.yaml"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(
    command, arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.code == 2
    assert "no folder 'none'" in done.err and len(done.err.strip().splitlines()) == 1


def test_a_full_disk_is_no_bug_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        with Path("/dev/full").open("w") as device:
            device.write("x" * 100_000)

    assert guarded(full) == 2
    assert "No space left on device" in capsys.readouterr().err
