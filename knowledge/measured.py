"""Published measurements: memory, loss kernels, training runs and throughput, each with a source.

The readers take the packaged table or any file with these columns. Columns of other names are
left alone, unless one looks like a known column misspelt.
"""

import csv
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import msgspec

from knowledge import DATA
from knowledge.errors import UserError
from knowledge.files import text_of
from knowledge.tables import csv_rows


class MemoryRow(msgspec.Struct, frozen=True):
    """A measured peak (or static) memory of one GPU [GiB]; an empty cell is unknown.

    `metric`: allocated, reserved, card, bound or unknown. `tier`: A fully specified, B one
    assumption, C not to be scored. `dp` to `ep` are degrees where stated.
    """

    model: str
    method: str
    id: str = ""
    params: float | None = None
    n_layers: str = ""
    hidden: float | None = None
    heads: float | None = None
    kv_heads: float | None = None
    ffn: float | None = None
    vocab: float | None = None
    phase: str = "peak"
    train_also: str = ""
    lora_rank: float | None = None
    lora_targets: str = ""
    trainable_params: float | None = None
    quant: str = ""
    weights_dtype: str = ""
    master_dtype: str = ""
    optimizer: str = ""
    optimizer_dtype: str = ""
    in_backward: str = ""
    micro_batch: float | None = None
    seq_len: float | None = None
    seq_len_is: str = ""
    new_tokens: float | None = None
    checkpointing: str = ""
    attention: str = ""
    engine: str = ""
    compile: str = ""
    loss_impl: str = ""
    n_gpus: float | None = None
    sharding: str = ""
    dp: float | None = None
    tp: float | None = None
    pp: float | None = None
    cp: float | None = None
    ep: float | None = None
    offload: str = ""
    measured_gib: float | None = None
    metric: str = "unknown"
    gpu: str = ""
    published_as: str = ""
    library: str = ""
    source: str = ""
    source_status: str = ""
    tier: str = ""
    predictable: str = ""
    suspect: str = ""


class LossKernelRow(msgspec.Struct, frozen=True):
    """The peak memory of one kernel [MiB]: lm_head with a loss, a norm, an activation.

    `config` is the benchmark's own settings as JSON; `x_name` the one that varies. Figures
    published in GB are read as 1e9 bytes.
    """

    kernel: str
    provider: str
    mode: str
    x_name: str
    x_value: str
    peak_mib: float
    published_as: str = ""
    config: str = ""
    gpu: str = ""
    date: str = ""
    source: str = ""
    source_status: str = ""


class RunRow(msgspec.Struct, frozen=True):
    """A published training run: tokens seen, GPUs, GPU-hours, cost.

    Reported MFU and TFLOP/s are kept as text: sources give ranges and remarks.
    """

    model: str
    method: str
    id: str = ""
    organisation: str = ""
    params: float | None = None
    active_params: float | None = None
    tokens: float | None = None
    gpu: str = ""
    n_gpus: float | None = None
    gpu_hours: float | None = None
    days: float | None = None
    cost_usd_reported: float | None = None
    precision: str = ""
    mfu_pct_reported: str = ""
    tflops_per_gpu_reported: str = ""
    seq_len: str = ""
    year: int | None = None
    source: str = ""
    source_status: str = ""
    well_specified: str = ""

    @property
    def measured_gpu_hours(self) -> float | None:
        """What the run took [GPU-hours], from days and GPUs where the sum is not published."""
        if self.gpu_hours is not None:
            return self.gpu_hours
        if self.days is None or self.n_gpus is None:
            return None
        return self.days * 24 * self.n_gpus


class ThroughputRow(msgspec.Struct, frozen=True):
    """A measured speed of training (all tokens) or of inference (answer tokens).

    `flag`: vendor-tuned, derived or implausible; `doubt`: what the source leaves open.
    """

    kind: str
    model: str
    id: str = ""
    task: str = ""
    params: float | None = None
    active_params: float | None = None
    gpu: str = ""
    n_gpus: float | None = None
    seq_len: str = ""
    in_len: str = ""
    out_len: str = ""
    precision: str = ""
    global_batch_seqs: float | None = None
    microbatch: float | None = None
    parallelism: str = ""
    act_ckpt: str = ""
    tokens_per_s_total: float | None = None
    tokens_per_s_per_gpu: float | None = None
    model_tflops_per_gpu: float | None = None
    mfu_pct: float | None = None
    hfu_pct: float | None = None
    mem_gb_per_gpu: float | None = None
    minutes_per_1000_microbatches: float | None = None
    framework: str = ""
    measured: str = ""
    source: str = ""
    source_status: str = ""
    flag: str = ""
    doubt: str = ""

    @property
    def measured_per_gpu(self) -> float | None:
        """The speed of one GPU [tokens/s], from the total where that is what was published."""
        if self.tokens_per_s_per_gpu is not None:
            return self.tokens_per_s_per_gpu
        if self.tokens_per_s_total is None or not self.n_gpus:
            return None
        return self.tokens_per_s_total / self.n_gpus


Row = TypeVar("Row", MemoryRow, LossKernelRow, RunRow, ThroughputRow)


def memory(path: Path | None = None) -> list[MemoryRow]:
    """The rows of a memory table, packaged or the user's, in file order."""
    return _rows(path or DATA / "measured_memory.csv", MemoryRow)


def loss_kernels(path: Path | None = None) -> list[LossKernelRow]:
    """The rows of a table of loss kernels, in file order."""
    return _rows(path or DATA / "measured_loss_kernels.csv", LossKernelRow)


def runs(path: Path | None = None) -> list[RunRow]:
    """The rows of a table of training runs, in file order."""
    return _rows(path or DATA / "measured_runs.csv", RunRow)


def throughput(path: Path | None = None) -> list[ThroughputRow]:
    """The rows of a table of speeds, in file order."""
    return _rows(path or DATA / "measured_throughput.csv", ThroughputRow)


def number(text: str) -> float | None:
    """The number that a cell holds, or None where it holds a word."""
    try:
        return float(text)
    except ValueError:
        return None


def _rows(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a file, each with an id.

    Raises:
        UserError: the file cannot be read, a column is missing or misspelt, a cell is no number.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    columns = list(_header(path))
    for name in (name for name, field in fields.items() if field.required):
        if name not in columns:
            raise UserError(f"{str(path)!r} has no column {name!r}; it has: {', '.join(columns)}")
    for column in set(columns) - set(fields):
        near = get_close_matches(column, set(fields) - set(columns), n=1, cutoff=0.8)
        if near:
            raise UserError(
                f"{str(path)!r}: column {column!r} is unknown; did you mean {near[0]!r}?"
            )
    return [_numbered(row, number) for number, row in enumerate(csv_rows(path, kind), start=1)]


def _header(path: Path) -> Iterator[str]:
    first = next(csv.reader(text_of(path, "CSV file").splitlines()), [])
    if not first:
        raise UserError(f"{str(path)!r} is empty; the first line names the columns")
    yield from first


def _numbered(row: Row, number: int) -> Row:
    """The row with an id of its own, and with the catalogue's word for what was not read."""
    status = "remembered" if row.source_status == "memory" else row.source_status
    if isinstance(row, LossKernelRow):
        return msgspec.structs.replace(row, source_status=status)
    return msgspec.structs.replace(row, id=row.id or f"row-{number}", source_status=status)
