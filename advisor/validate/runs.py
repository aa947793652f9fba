"""Predicted against published training runs."""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

from advisor.estimates.records import Estimate
from advisor.estimates.subject import architecture
from advisor.validate import subject
from advisor.validate.memory import METHODS
from advisor.validate.prediction import Predict, asked, predicted, present
from advisor.validate.records import Report, Row, document, report
from knowledge import gpus
from knowledge.errors import UserError
from knowledge.measured import RunRow, number
from knowledge.quantities import HOUR, Range, exactly

FLAT = (0.35, 0.50)
"""Shares of the peak that rules of thumb assume; they stand beside the estimate."""
SUGGESTED = 0.5
"""The efficiency that a known tool suggests for large training; its own operations are counted.

Source: https://github.com/cli99/llm-analysis, README: "How to Set FLOPS and Memory Efficiency".
"""
USUAL_SECONDS = 30 * 24 * HOUR
"""How long a run is taken to last where its GPUs are not counted: a month."""
NODE = 8
TOOL_SPAN = 2048
"""Tokens of a sequence where a row does not say: what most of these runs read."""
EXAMPLES = ("sft", "full-ft", "lora", "qlora")
"""Methods of runs on conversations and instructions, which published runs seldom packed."""
FORMATS = {"bf16": "bf16", "amp_bf16": "bf16", "fp16": "fp16", "fp32": "fp32"}
"""Published number formats that are formats of weights here."""


def runs(rows: Iterable[RunRow], predict: Predict = predicted) -> Report:
    """Every run predicted [GPU-hours], and the scores of well specified pretraining."""
    listed = list(rows)
    return report(
        "runs",
        [_row(row, *_asked(row, predict)) for row in listed],
        {f"6ND at {share:.0%} of the peak": _flat(listed, share) for share in FLAT}
        | {f"llm-analysis at {SUGGESTED:.0%}, as it suggests": _tool(listed)},
    )


def job(row: RunRow) -> Mapping[str, Any]:
    """The keys of the job that a run was; where its GPUs are not counted, as many as a month needs.

    Raises:
        UserError: the model, the tokens or the GPU are unknown.
    """
    card = gpus.nearest(row.gpu)
    if card is None:
        raise UserError(f"no GPU {row.gpu!r} in the catalogue")
    if row.tokens is None:
        raise UserError("its tokens are not published")
    model = subject.of_size(row.model, row.params, row.active_params)
    work = 6 * subject.parameters(model)[1] * row.tokens
    pace = (card.peak("bf16") or card.peak("fp16") or 1e14) * FLAT[0]
    usual = NODE * ceil(work / pace / USUAL_SECONDS / NODE)
    return present(
        id=row.id,
        model=subject.reaching(model, number(row.seq_len)),
        method=METHODS.get(row.method, "scratch" if "+" in row.method else row.method),
        gpu=card.id,
        n_gpus=row.n_gpus or usual,
        seq_len=number(row.seq_len),
        weights_dtype=FORMATS.get(row.precision),
        quant=row.precision if row.method == "qlora" and row.precision in ("nf4", "int8") else None,
        tokens=row.tokens,
        fp8=row.precision == "fp8" or None,
        year=row.year,
        packing=False if row.method in EXAMPLES else None,
    )


def unscored(row: RunRow) -> str | None:
    """Why a run does not count, or None."""
    if row.method not in ("pretrain", "scratch"):
        return f"its method is {row.method!r}"
    if row.well_specified not in ("yes", ""):
        return "it is not well specified"
    return "its GPU-hours are not published" if row.measured_gpu_hours is None else None


def _asked(row: RunRow, predict: Predict) -> tuple[Range | None, str | None]:
    if row.measured_gpu_hours is None:
        return None, "its GPU-hours are not published"
    return asked(lambda: job(row), predict, _figure)


def _figure(estimate: Estimate) -> Range | None:
    return estimate.time.gpu_hours if estimate.time else None


def _row(row: RunRow, figure: Range | None, skipped: str | None) -> Row:
    return Row(
        id=row.id,
        group={"source": row.organisation or document(row.source), "method": row.method},
        measured=row.measured_gpu_hours,
        low=figure.low if figure else None,
        mid=figure.mid if figure else None,
        high=figure.high if figure else None,
        unit="GPU-hours",
        metric="gpu_hours",
        skipped=skipped,
        unscored=unscored(row),
    )


def _flat(rows: Sequence[RunRow], share: float) -> list[Row]:
    """The runs as six FLOPs a parameter and token at a share of the peak predict them."""
    return [_row(row, figure, _why(figure)) for row in rows for figure in [_rule(row, share)]]


def _rule(row: RunRow, share: float) -> Range | None:
    card, size = gpus.nearest(row.gpu), row.active_params or row.params
    peak = (card.peak("bf16") or card.peak("fp16")) if card else None
    if peak is None or size is None or row.tokens is None:
        return None
    return exactly(6 * size * row.tokens / (peak * share) / HOUR)


def _tool(rows: Sequence[RunRow]) -> list[Row]:
    """The runs as llm-analysis 0.2.2 predicts them at the efficiency that it suggests."""
    return [_row(row, figure, _why(figure)) for row in rows for figure in [_suggested(row)]]


def _suggested(row: RunRow) -> Range | None:
    """GPU-hours by its count of operations: a matrix of four widths in each half of an MLP,
    whatever the model has, and attention over all pairs of positions.

    Source: https://arxiv.org/abs/2104.04473, section 5.1, whose count it uses.
    """
    card = gpus.nearest(row.gpu)
    peak = (card.peak("bf16") or card.peak("fp16")) if card else None
    if peak is None or row.tokens is None:
        return None
    try:
        arch = architecture(subject.of_size(row.model, row.params, row.active_params))
    except UserError:
        return None
    span, wide = number(row.seq_len) or TOOL_SPAN, float(arch.hidden)
    active = arch.experts.active if arch.experts is not None else 1
    block = (4 + 4 * arch.kv_heads / arch.heads + 16 * active) * wide**2 + 4 * span * wide
    forward = arch.layers * block + 2 * wide * arch.vocab
    return exactly(3 * forward * row.tokens / (peak * SUGGESTED) / HOUR)


def _why(figure: Range | None) -> str | None:
    return None if figure else "parameters, tokens or GPU unknown"
