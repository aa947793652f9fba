"""Measured rows become jobs, and every row of a file stands in the report."""

import json
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from advisor import validate
from advisor.validate import subject
from advisor.validate.memory import job as memory_job
from advisor.validate.memory import unscored as memory_unscored
from advisor.validate.runs import job as run_job
from advisor.validate.throughput import job as speed_job
from knowledge import measured
from knowledge.errors import UserError
from knowledge.quantities import Range

MEMORY = measured.memory()
RUNS = measured.runs()
SPEEDS = measured.throughput()


def same(answer):
    """An estimator that answers every job alike."""

    def predict(keys):
        return SimpleNamespace(
            memory_gib=SimpleNamespace(
                allocated=answer, reserved=answer.scaled(2), card=answer.scaled(3)
            ),
            time=SimpleNamespace(gpu_hours=answer, tokens_per_second=answer),
        )

    return predict


TEN = same(Range(8.0, 10.0, 12.0))


def refuse(keys):
    raise UserError("no such thing")


def memory_row(**cells):
    plain = {"model": "some-7b", "method": "lora", "measured_gib": 10.0, "metric": "allocated"}
    sizes = {"hidden": 4096, "heads": 32, "kv_heads": 32, "ffn": 11008, "vocab": 32000}
    return msgspec.convert(
        plain | sizes | {"n_layers": "32", "id": "a", "source": "here"} | cells,
        measured.MemoryRow,
    )


def run_row(**cells):
    plain = {"model": "some-7b", "method": "pretrain", "id": "a", "organisation": "here"}
    sizes = {"params": 7e9, "tokens": 1e12, "gpu": "A100-SXM-80GB", "gpu_hours": 10.0}
    return msgspec.convert(plain | sizes | cells, measured.RunRow)


def speed_row(**cells):
    plain = {"kind": "train", "task": "pretrain", "model": "some-7b", "id": "a", "source": "here"}
    sizes = {"params": 7e9, "gpu": "A100-SXM-80GB", "n_gpus": 8, "tokens_per_s_per_gpu": 10.0}
    return msgspec.convert(plain | sizes | cells, measured.ThroughputRow)


# --- the model of a row


def test_a_model_of_the_catalogue_is_named_if_it_has_as_many_parameters():
    assert subject.named("Llama-3.1-8B", 8_030_261_248) == "llama-3.1-8b"
    assert subject.named("Llama-3.1-8B", 7e9) is None
    assert subject.named("no such model", None) is None


def test_a_tied_head_held_apart_is_the_same_model():
    assert subject.named("falcon-7b", 6_921_720_704) == "falcon-7b"
    assert subject.named("falcon-7b", 7_217_189_760) == "falcon-7b"


def test_a_size_in_the_name_decides_where_no_count_is_given():
    sizes = {"hidden": 6144, "heads": 64, "kv_heads": 64, "ffn": 24576, "vocab": 51200}
    row = memory_row(model="GPT 22B (own)", n_layers="48", **sizes)
    assert subject.parameters(subject.of_memory(row))[0] == pytest.approx(22e9, rel=0.02)


def test_sizes_become_the_family_whose_count_is_nearest():
    row = memory_row(params=6_738_415_616)
    config = subject.of_memory(row)
    assert subject.parameters(config)[0] == 6_738_415_616


def test_tied_heads_are_told_by_the_count():
    untied = subject.parameters(subject.of_memory(memory_row(params=6_738_415_616)))[0]
    tied = subject.of_memory(memory_row(params=untied - 32000 * 4096))
    assert tied["tie_word_embeddings"] is True


def test_sizes_of_an_encoder_and_a_decoder_become_a_pair():
    config = subject.of_memory(memory_row(model="own pair", n_layers="24+24", hidden=2048))
    assert (config["num_layers"], config["num_decoder_layers"]) == (24, 24)


def test_a_model_without_sizes_is_refused():
    with pytest.raises(UserError, match="its sizes are not given"):
        subject.of_memory(memory_row(hidden=None))
    with pytest.raises(UserError, match="its parameters are not given"):
        subject.of_size("own", None, None)


@pytest.mark.parametrize("params", [3e7, 1.2e8, 1e9, 6.9e9, 7e10, 5.3e11])
def test_a_size_becomes_a_decoder_of_that_size(params):
    total, active = subject.parameters(subject.of_size("own", params, None))
    assert total == pytest.approx(params, rel=0.02)
    assert active == total


@pytest.mark.parametrize(("params", "active"), [(3e10, 3e9), (2.36e11, 2.1e10), (6.7e11, 3.7e10)])
def test_two_sizes_become_a_mixture_of_experts(params, active):
    total, used = subject.parameters(subject.of_size("own", params, active))
    assert total == pytest.approx(params, rel=0.05)
    assert used == pytest.approx(active, rel=0.05)


# --- jobs


def test_a_memory_row_becomes_a_job_with_its_configuration():
    cells = {"lora_rank": 8, "lora_targets": "q,v", "quant": "nf4", "micro_batch": 4, "tp": 2}
    keys = memory_job(memory_row(**cells, gpu="A100 80GB", in_backward="yes"))
    assert {key: keys[key] for key in cells} == cells
    assert (keys["gpu"], keys["method"], keys["in_backward"]) == ("A100-SXM-80GB", "lora", "yes")
    assert "optimizer" not in keys


def test_measured_names_of_methods_are_translated():
    assert memory_job(memory_row(method="rlhf"))["method"] == "ppo"
    assert run_job(run_row(method="pretrain"))["method"] == "scratch"
    assert run_job(run_row(method="pretrain+sft"))["method"] == "scratch"
    assert speed_job(speed_row(task="sft"))["method"] == "full-ft"


def test_a_run_without_a_count_of_gpus_gets_as_many_as_a_month_needs():
    needed = 6 * 7e9 * 1e12 / (0.35 * 312e12) / (30 * 24 * 3600)
    assert needed <= run_job(run_row())["n_gpus"] <= needed * 1.02 + 8
    assert run_job(run_row(n_gpus=512))["n_gpus"] == 512


@pytest.mark.parametrize(
    ("cells", "why"), [({"tokens": None}, "tokens"), ({"gpu": "TPU-v1"}, "TPU-v1")]
)
def test_a_run_that_says_too_little_is_refused(cells, why):
    with pytest.raises(UserError, match=why):
        run_job(run_row(**cells))


def test_parallelism_is_read_from_its_published_spelling():
    keys = speed_job(speed_row(parallelism="FSDP0 TP2 PP4 (8) CP1 VP5 EP64", seq_len="4096"))
    assert (keys["tp"], keys["pp"], keys["ep"]) == (2, 4, 64)
    assert "cp" not in keys
    mosaic = speed_job(
        speed_row(
            parallelism="FSDP FULL_SHARD MP=PURE",
            act_ckpt="True",
            global_batch_seqs=256,
            microbatch=8,
        )
    )
    assert (mosaic["sharding"], mosaic["checkpointing"]) == ("fsdp", "full")
    assert mosaic["gradient_accumulation"] == 4


def test_an_inference_row_becomes_requests():
    keys = speed_job(
        speed_row(kind="inference", task="max_throughput", in_len="2048", out_len="128")
    )
    assert (keys["method"], keys["tokens_in"], keys["new_tokens"]) == ("inference", 2048, 128)


# --- reports


def test_every_row_stands_in_the_report_in_file_order():
    got = validate.memory(MEMORY, TEN)
    assert [row.id for row in got.rows] == [row.id for row in MEMORY]
    assert all(row.predicted or row.skipped for row in got.rows)


def test_the_rows_that_count_are_those_of_the_definition():
    counted = [row for row in MEMORY if memory_unscored(row) is None]
    assert len(counted) == 284
    assert {row.phase for row in counted} == {"peak", "static", "load"}
    got = validate.memory(MEMORY, TEN)
    assert got.summary.n_scored + got.summary.n_skipped == 284


def test_a_row_is_compared_in_its_own_metric():
    rows = [memory_row(metric=metric) for metric in ("allocated", "reserved", "card", "bound")]
    got = validate.memory(rows, TEN).rows
    assert [row.mid for row in got] == [10.0, 20.0, 30.0, None]
    assert "bound" in got[3].skipped


@pytest.mark.parametrize(
    "cells",
    [
        {"tier": "C"},
        {"suspect": "likely"},
        {"predictable": "no"},
        {"metric": "unknown"},
        {"measured_gib": None},
    ],
)
def test_a_row_that_does_not_count_says_why(cells):
    assert memory_unscored(memory_row(**cells))
    got = validate.memory([memory_row(**cells)], TEN)
    assert got.summary.n_scored == got.summary.n_skipped == 0
    assert got.rows[0].unscored


def test_what_cannot_be_predicted_is_skipped_with_its_reason():
    got = validate.memory([memory_row()], refuse)
    assert got.rows[0].skipped == "no such thing"
    assert (got.summary.n_scored, got.summary.n_skipped) == (0, 1)
    unknown = same(Range(1.0, 1.0, 1.0))({})
    unknown.memory_gib = None
    got = validate.memory([memory_row()], lambda keys: unknown)
    assert "does not know" in got.rows[0].skipped


def test_a_bug_in_an_estimator_is_not_swallowed():
    def broken(keys):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        validate.memory([memory_row()], broken)


def test_runs_count_where_they_are_well_specified_pretraining():
    got = validate.runs(RUNS, TEN)
    counted = {row.id for row in got.rows if row.unscored is None}
    assert counted == {
        row.id
        for row in RUNS
        if row.method == "pretrain"
        and row.well_specified == "yes"
        and row.measured_gpu_hours is not None
    }
    assert len(counted) == 40


def test_a_rule_of_thumb_stands_beside_the_runs():
    flat = validate.runs(RUNS, TEN).summary.baselines["6ND at 35% of the peak"]
    assert flat.n_scored > 30
    by_hand = validate.runs([run_row(gpu_hours=6 * 7e21 / (312e12 * 0.35) / 3600)], TEN)
    assert by_hand.summary.baselines["6ND at 35% of the peak"].median_error == pytest.approx(1)
    assert by_hand.summary.baselines["6ND at 50% of the peak"].median_error == pytest.approx(
        1 / 0.7
    )


def test_speeds_count_where_nothing_is_flagged():
    got = validate.throughput(SPEEDS, TEN)
    assert len(got.rows) == 826
    unflagged = [row for row in SPEEDS if not row.flag and row.measured_per_gpu is not None]
    assert got.summary.n_scored + got.summary.n_skipped == len(unflagged)


def test_the_json_has_the_keys_of_the_contract():
    plain = json.loads(msgspec.json.encode(validate.memory([memory_row()], TEN)))
    assert {"kind", "rows", "summary", "by_group"} <= set(plain)
    assert {
        "id", "group", "measured", "low", "mid", "high", "unit", "metric", "skipped",
    } <= set(plain["rows"][0])  # fmt: skip
    assert {
        "n_scored", "n_skipped", "median_error", "p90_error", "coverage_80", "above_high",
        "leave_one_out",
    } <= set(plain["summary"])  # fmt: skip
    assert set(plain["rows"][0]["group"]) == {"source", "method"}
    assert (plain["kind"], plain["rows"][0]["unit"]) == ("memory", "GiB")


# --- the real estimators


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="memory, runs, throughput, cases"):
        validate.report("speed")


def test_a_file_of_ones_own_is_validated(tmp_path: Path):
    path = tmp_path / "own.csv"
    path.write_text(
        "model,method,lora_rank,lora_targets,micro_batch,seq_len,measured_gib,metric,gpu\n"
        "llama-2-7b,lora,8,all-linear,1,512,16.0,allocated,RTX 4090\n"
        "no-such-model,lora,8,all-linear,1,512,16.0,allocated,\n",
        encoding="utf-8",
    )
    got = validate.report("memory", path)
    assert [row.id for row in got.rows] == ["row-1", "row-2"]
    assert 12 < got.rows[0].low < got.rows[0].mid < got.rows[0].high < 40
    assert "no-such-model" in got.rows[1].skipped
    assert (got.summary.n_scored, got.summary.n_skipped) == (1, 1)


def test_the_packaged_memory_is_predicted():
    got = validate.report("memory")
    assert len(got.rows) == 390
    assert (got.summary.n_scored, got.summary.n_skipped) == (284, 0)
    assert got.summary.median_error < 0.1
    assert set(got.summary.leave_one_out) == {"all", *got.by_group["source"]}
    assert len(got.by_group["source"]) == 16


def test_the_packaged_runs_and_speeds_are_predicted():
    runs, speeds = validate.report("runs"), validate.report("throughput")
    assert (runs.summary.n_scored, runs.summary.n_skipped) == (40, 0)
    assert runs.summary.median_error < 1.5
    assert (speeds.summary.n_scored, speeds.summary.n_skipped) == (270, 1)
    assert speeds.summary.median_error < 1.5
