"""Predicted against measured speed of training and inference."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from advisor.estimates import serving
from advisor.estimates.records import Estimate
from advisor.job import settled
from advisor.validate import subject
from advisor.validate.prediction import Predict, asked, predicted, present
from advisor.validate.records import Report, Row, document, report
from advisor.validate.runs import FLAT, FORMATS
from knowledge import engines, gpus
from knowledge.errors import UserError
from knowledge.measured import ThroughputRow, number
from knowledge.quantities import Range, exactly

METHODS = {"pretrain": "scratch", "sft": "full-ft", "max_throughput": "inference",
           "decode_bs1": "inference"}  # fmt: skip
FRAMEWORKS = {
    "NeMo Megatron-Bridge": "megatron",
    "NeMo 24.07": "megatron",
    "Megatron-Core": "megatron",
    "llm-foundry/Composer": "llm-foundry",
    "TensorRT-LLM 1.0": "tensorrt-llm",
    "TensorRT-LLM 0.5/0.6": "tensorrt-llm",
    "HF+DeepSpeed (Qwen finetune.py)": "qwen-scripts",
    "HF transformers+FA2": "transformers",
    "litgpt (eager)": "litgpt",
    "TinyLlama (lit-gpt)": "litgpt",
    "vLLM": "vllm",
}
"""Engines by the name that measured files give them; one without a row here is left out."""
QUANTS = {"fp8": "fp8", "int8": "int8", "nf4": "nf4", "nf4-dq": "nf4-dq", "int4": "gptq-int4",
          "fp4": "fp4"}  # fmt: skip
SHARDINGS = {"FULL_SHARD": "fsdp", "SHARD_GRAD_OP": "zero2", "FSDP": "fsdp", "ZeRO3": "zero3",
             "ZeRO2": "zero2"}  # fmt: skip
SATURATED = ("max_throughput",)
"""Tasks measured with as many requests at once as the card holds."""
TRAINED_TOKENS = 1e9
"""Enough that no start-up share matters: a speed does not depend on the amount of work."""
ANSWER = 128


def throughput(rows: Iterable[ThroughputRow], predict: Predict = predicted) -> Report:
    """Every row predicted [tokens/s per GPU], and the scores of rows without a flag."""
    listed = list(rows)
    return report(
        "throughput",
        [_row(row, *_asked(row, predict)) for row in listed],
        {f"6N at {share:.0%} of the peak": _flat(listed, share) for share in FLAT},
    )


def job(row: ThroughputRow) -> Mapping[str, Any]:
    """The keys of the job whose speed a row measured.

    Raises:
        UserError: the model or the GPU are unknown.
    """
    card = gpus.nearest(row.gpu)
    if card is None:
        raise UserError(f"no GPU {row.gpu!r} in the catalogue")
    method = METHODS.get(row.task, row.task)
    degrees = _degrees(row.parallelism)
    model = subject.of_size(row.model, row.params, row.active_params)
    common = present(
        id=row.id,
        model=subject.reaching(model, number(row.seq_len)),
        method=method,
        gpu=card.id,
        n_gpus=row.n_gpus,
        micro_batch=row.microbatch,
        weights_dtype=FORMATS.get(row.precision.lower()),
        engine=_engine(row.framework),
        **{key: degree for key, degree in degrees.items() if degree > 1},
    )
    if method != "inference":
        return common | _training(row, degrees)
    served = common | _serving(row)
    if row.task in SATURATED and row.microbatch is None:
        full = serving.capacity(settled(served))
        served |= {} if full is None else {"micro_batch": full.batch}
    return served


def unscored(row: ThroughputRow) -> str | None:
    """Why a row does not count, or None."""
    if row.flag:
        return f"it is flagged: {row.flag}"
    return "its speed is not published" if row.measured_per_gpu is None else None


def _training(row: ThroughputRow, degrees: Mapping[str, int]) -> dict[str, Any]:
    ranks = (row.n_gpus or 1) / max(1, degrees.get("tp", 1) * degrees.get("pp", 1))
    passes = None
    if row.global_batch_seqs and row.microbatch:
        passes = max(1, round(row.global_batch_seqs / row.microbatch / max(1, ranks)))
    return present(
        seq_len=number(row.seq_len),
        quant=QUANTS.get(row.precision) if row.task == "qlora" else None,
        checkpointing={"True": "full", "False": "none"}.get(row.act_ckpt),
        sharding=next((s for word, s in SHARDINGS.items() if word in row.parallelism), None),
        gradient_accumulation=passes,
        fp8=any(word in row.precision for word in ("fp8", "float8")) or None,
        tokens=TRAINED_TOKENS,
    )


def _serving(row: ThroughputRow) -> dict[str, Any]:
    prompt, answer = number(row.in_len) or ANSWER, number(row.out_len) or ANSWER
    return present(
        seq_len=prompt + answer,
        new_tokens=answer,
        tokens_in=prompt,
        tokens_out=answer,
        quant=QUANTS.get(row.precision),
    )


def _degrees(parallelism: str) -> dict[str, int]:
    """TP, PP, CP and EP as written in `TP2 PP4 (8) CP1 EP64`, the first number of each."""
    found = re.findall(r"\b(TP|PP|CP|EP)(\d+)", parallelism)
    return {name.lower(): int(degree) for name, degree in found}


def _engine(framework: str) -> str | None:
    try:
        return engines.find(FRAMEWORKS.get(framework, framework)).id
    except UserError:
        return None


def _asked(row: ThroughputRow, predict: Predict) -> tuple[Range | None, str | None]:
    if row.measured_per_gpu is None:
        return None, "its speed is not published"
    return asked(lambda: job(row), predict, _figure)


def _figure(estimate: Estimate) -> Range | None:
    return estimate.time.tokens_per_second if estimate.time else None


def _row(row: ThroughputRow, figure: Range | None, skipped: str | None) -> Row:
    return Row(
        id=row.id,
        group={"source": document(row.source), "method": row.task},
        measured=row.measured_per_gpu,
        low=figure.low if figure else None,
        mid=figure.mid if figure else None,
        high=figure.high if figure else None,
        unit="tokens/s per GPU",
        metric="tokens_per_second",
        skipped=skipped,
        unscored=unscored(row),
    )


def _flat(rows: Sequence[ThroughputRow], share: float) -> list[Row]:
    """The training rows as six FLOPs a parameter and token at a share of the peak predict them."""
    return [
        _row(row, figure, None if figure else "no rule of thumb for it")
        for row in rows
        for figure in [_rule(row, share)]
    ]


def _rule(row: ThroughputRow, share: float) -> Range | None:
    card, size = gpus.nearest(row.gpu), row.active_params or row.params
    peak = card.peak("bf16") if card else None
    if peak is None or size is None or row.kind != "train":
        return None
    return exactly(peak * share / (6 * size))
