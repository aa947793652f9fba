"""Published measurements: all rows are there, plausible and sourced; files of users are read."""

import json
from collections import Counter

import pytest

from knowledge import gpus, measured
from knowledge.errors import UserError

MEMORY = measured.memory()
RUNS = measured.runs()
THROUGHPUT = measured.throughput()
KERNELS = measured.loss_kernels()


def test_every_published_row_is_there_once():
    assert [len(rows) for rows in (MEMORY, RUNS, THROUGHPUT, KERNELS)] == [390, 94, 826, 226]
    for rows in (MEMORY, RUNS, THROUGHPUT):
        assert max(Counter(row.id for row in rows).values()) == 1


def test_every_row_has_a_source_and_says_whether_it_was_read():
    for row in (*MEMORY, *RUNS, *THROUGHPUT, *KERNELS):
        assert row.source
        assert row.source_status in ("read", "remembered")


def test_memory_is_plausible():
    for row in MEMORY:
        assert row.metric in ("allocated", "reserved", "card", "bound", "unknown")
        assert row.tier in ("A", "B", "C", "OOM-bound")
        assert row.phase in ("peak", "static", "load")
        assert row.measured_gib is None or 0.2 < row.measured_gib < 200


def test_gb_and_gib_were_told_apart():
    """The published figure and the converted one agree, as 1e9 or as 2**30 bytes."""
    checked = 0
    for row in MEMORY:
        figure, _, unit = row.published_as.partition(" ")
        value = measured.number(figure)
        if row.measured_gib is None or value is None or unit not in ("GB", "GiB"):
            continue
        share = row.measured_gib * (row.n_gpus or 1) / value
        ratios = {1.0, 1e9 / 2**30, row.n_gpus or 1, (row.n_gpus or 1) * 1e9 / 2**30}
        assert any(share == pytest.approx(ratio, rel=0.01) for ratio in ratios), row.id
        checked += 1
    assert checked > 250


def test_runs_imply_a_possible_share_of_the_peak():
    shares = []
    for row in RUNS:
        card, hours = gpus.nearest(row.gpu), row.measured_gpu_hours
        size = row.active_params or row.params
        if row.method != "pretrain" or row.well_specified != "yes":
            continue
        if card is None or not hours:
            continue
        rate = card.peak("bf16") or card.peak("fp16")
        shares.append(6 * size * row.tokens / (hours * 3600 * rate))
    assert len(shares) == 40
    assert max(shares) < 0.75
    assert 0.25 < sorted(shares)[len(shares) // 2] < 0.45


def test_totals_and_speeds_per_gpu_agree():
    for row in THROUGHPUT:
        if row.tokens_per_s_total and row.tokens_per_s_per_gpu and row.n_gpus:
            total = row.tokens_per_s_per_gpu * row.n_gpus
            assert total == pytest.approx(row.tokens_per_s_total, rel=0.02)


def test_gpu_hours_come_from_days_where_only_those_are_published():
    rows = {row.id: row for row in RUNS}
    dbrx = rows["run-0059"]
    assert dbrx.gpu_hours is None
    assert dbrx.measured_gpu_hours == 90 * 24 * 3072
    assert rows["run-0047"].measured_gpu_hours is None


def test_a_name_of_a_card_means_that_card_or_says_why_not():
    published = {row.gpu for row in (*MEMORY, *RUNS, *THROUGHPUT)} - {""}
    unknown = {name for name in published if gpus.nearest(name) is None}
    assert unknown == {name for name in published if name in gpus.names()} & {
        row.name for row in gpus.names().values() if not row.nearest
    }
    assert gpus.nearest("A100 80GB").id == "A100-SXM-80GB"
    assert gpus.nearest("L40S 48GB").id == "L40S"
    assert gpus.nearest("24 GB card") is None
    assert gpus.nearest("") is None
    assert all(row.note or row.nearest for row in gpus.names().values())


def test_kernels_keep_their_settings():
    for row in KERNELS:
        assert row.peak_mib > 0
        assert not row.config or isinstance(json.loads(row.config), dict)


def write(tmp_path, text, name="own.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_own_rows_are_read_with_the_columns_they_have(tmp_path):
    path = write(tmp_path, "model,method,seq_len,measured_gib,notes\nllama,lora,2048,17.5,mine\n")
    (row,) = measured.memory(path)
    assert (row.id, row.seq_len, row.measured_gib, row.tier) == ("row-1", 2048, 17.5, "")


def test_memory_status_of_a_source_is_spelt_as_in_the_catalogue(tmp_path):
    path = write(tmp_path, "model,method,tokens,source_status\na,sft,1e9,memory\n")
    (row,) = measured.runs(path)
    assert row.source_status == "remembered"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("model,measured_gib\na,1\n", "no column 'method'"),
        ("model,method,mesured_gib\na,lora,1\n", "did you mean 'measured_gib'"),
        ("model,method,measured_gib\na,lora,much\n", "line 2"),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        measured.memory(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="no file"):
        measured.memory(tmp_path / "absent.csv")
    with pytest.raises(UserError, match="is a folder"):
        measured.runs(tmp_path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("model,method\nmodèle,lora\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        measured.memory(latin)
