"""Predicted against measured memory."""

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from advisor.estimates.records import Estimate
from advisor.estimates.settling import settled as workload
from advisor.job import settled
from advisor.validate import memory_constants, subject
from advisor.validate.prediction import Predict, asked, predicted, present
from advisor.validate.records import Report, Row, Scores, document, off_by, report, scores
from knowledge import gpus
from knowledge.measured import MemoryRow
from knowledge.quantities import Range

METRICS = ("allocated", "reserved", "card")
CONFIGURATION = (
    "phase", "train_also", "lora_rank", "lora_targets", "trainable_params", "quant",
    "weights_dtype", "master_dtype", "optimizer", "optimizer_dtype", "in_backward", "micro_batch",
    "seq_len", "seq_len_is", "new_tokens", "checkpointing", "attention", "engine", "compile",
    "loss_impl", "n_gpus", "sharding", "dp", "tp", "pp", "cp", "ep", "offload",
)  # fmt: skip
"""The columns that are keys of a job under the same name."""
METHODS = {"pretrain": "scratch", "sft": "full-ft", "rlhf": "ppo"}
"""What measured files call a method, where it has another name here."""


def memory(rows: Iterable[MemoryRow], predict: Predict = predicted) -> Report:
    """Every row predicted in its own metric and phase [GiB per GPU], and the scores.

    `leave_one_out` scores each source's rows with constants fitted to all other sources; "all"
    puts them together. What is fitted: `memory_constants`.
    """
    listed = list(rows)
    whole = report("memory", (_row(row, predict) for row in listed))
    if predict is not predicted:
        return whole
    summary = replace(whole.summary, leave_one_out=_left_out(listed, whole.rows))
    return replace(whole, summary=summary)


def _left_out(rows: Iterable[MemoryRow], figures: Iterable[Row]) -> dict[str, Scores]:
    bills = [
        (figure, _held(row, figure))
        for row, figure in zip(rows, figures, strict=True)
        if figure.unscored is None and figure.predicted
    ]
    start = memory_constants.packaged()
    found: dict[str, list[Row]] = {}
    for source in dict.fromkeys(bill.source for _, bill in bills):
        others = memory_constants.fitted((b for _, b in bills if b.source != source), start)
        found[source] = [
            replace(figure, low=got.low, mid=got.mid, high=got.high)
            for figure, bill in bills
            if bill.source == source
            for got in (memory_constants.figure(bill, others),)
        ]
    every = {"all": [row for rows in found.values() for row in rows], **found}
    return {source: scores(rows, off_by) for source, rows in every.items()}


def _held(row: MemoryRow, figure: Row) -> memory_constants.Held:
    bill = workload(settled(job(row)))
    return memory_constants.held(figure.group["source"], row.metric, figure.measured or 0.0, bill)


def job(row: MemoryRow) -> dict[str, Any]:
    """The keys of the job that a row measured.

    Raises:
        UserError: its model is unknown and not described.
    """
    card = gpus.nearest(row.gpu)
    return present(
        id=row.id,
        model=subject.of_memory(row),
        method=METHODS.get(row.method, row.method),
        gpu=card.id if card else None,
        **{key: getattr(row, key) for key in CONFIGURATION},
    )


def unscored(row: MemoryRow) -> str | None:
    """Why a row does not count, or None: an empty tier or verdict is no objection."""
    if row.metric not in METRICS:
        return f"its metric is {row.metric!r}"
    if row.tier not in ("A", "B", ""):
        return f"its tier is {row.tier!r}"
    if row.suspect:
        return "its source is suspect"
    if row.predictable not in ("yes", "partial", ""):
        return "too much about it is not published"
    return "nothing was measured" if row.measured_gib is None else None


def _row(row: MemoryRow, predict: Predict) -> Row:
    figure, skipped = _asked(row, predict)
    return Row(
        id=row.id,
        group={"source": document(row.source), "method": row.method},
        measured=row.measured_gib,
        low=figure.low if figure else None,
        mid=figure.mid if figure else None,
        high=figure.high if figure else None,
        unit="GiB",
        metric=row.metric,
        skipped=skipped,
        unscored=unscored(row),
    )


def _asked(row: MemoryRow, predict: Predict) -> tuple[Range | None, str | None]:
    if row.measured_gib is None:
        return None, "nothing was measured"
    if row.metric not in METRICS:
        return None, f"no prediction has the metric {row.metric!r}"
    return asked(lambda: job(row), predict, lambda estimate: _figure(estimate, row.metric))


def _figure(estimate: Estimate, metric: str) -> Range | None:
    found: Range | None = getattr(estimate.memory_gib, metric, None)
    return found
