"""`advisor explain`: a rule, a finding, a method, or a line of a bill."""

from collections.abc import Iterator
from typing import Any

import click

from advisor.cli.catalog import FINDERS, KINDS, show_row
from advisor.cli.output import common
from advisor.estimates import estimate
from advisor.job import settled
from knowledge.errors import UserError, unknown
from knowledge.names import squeezed

# Jobs whose bills together hold every kind of line.
EXAMPLES: tuple[dict[str, Any], ...] = (
    {"model": "llama-3.1-8b", "method": "qlora", "gpu": "RTX4090"},
    {"model": "llama-3.1-8b", "method": "full-ft", "gpu": "H100-SXM-80GB"},
    {"model": "llama-3.1-8b", "method": "full-ft", "n_gpus": 8, "sharding": "fsdp"},
    {"model": "llama-3.1-8b", "method": "inference", "quant": "nf4", "gpu": "RTX4090"},
    {"model": "llama-3.1-8b", "method": "dpo"},
    {"model": "llama-3.1-8b", "method": "ppo", "n_gpus": 8, "sharding": "zero3"},
    {"model": "llama-3.1-8b", "method": "soft-prompt"},
    {"model": "all-minilm-l6-v2", "method": "head-ft"},
    {"model": "llama-3.2-1b", "method": "lora", "gpu": "L4", "examples": 1, "requests": 1,
     "labels": 1, "people_hours": 1},
    {"model": "llama-3.2-1b", "method": "lora", "gpu": "L4", "examples": 1, "owned": True},
    {"model": "gpt-5-mini", "method": "rag", "requests": 1, "corpus_tokens": 1e6},
    {"model": "ft:gpt-4.1-mini-2025-04-14", "method": "lora", "examples": 1},
)  # fmt: skip


@click.command()
@click.argument("name", metavar="ID")
@click.option("--model", help="Whose weights 'explain quantization' shows.")
@common
def explain(name: str, model: str | None, as_json: bool, quiet: bool) -> None:
    """What a rule, a finding, a method or a line of a bill is; its formula and its source.

    `explain quantization` shows how floats become integers with a scale, on real weights.
    """
    if squeezed(name) in ("quantization", "quantisation"):
        show_row(mapped_weights(model or "all-minilm-l6-v2"), as_json=as_json)
        return
    if model is not None:
        raise UserError(
            f"--model {model!r} means nothing to 'explain {name}'; it is for: quantization"
        )
    show_row(found(name), as_json=as_json)


def mapped_weights(model: str) -> dict[str, Any]:
    """The mapping of floats to integers, its scale, and what is lost, on a matrix of a model.

    Raises:
        UserError: the model has no weights here to show.
    """
    from backends import quantization

    quantization.require()
    from backends.quantization import mapping  # numpy, for this page alone

    name, matrix = mapping.real_matrix(model)
    whole, block, four = (
        mapping.shown(matrix, 8, matrix.shape[1]),
        mapping.shown(matrix, 8, 64),
        mapping.shown(matrix, 4, 64),
    )
    answer: dict[str, Any] = {
        "name": "quantization",
        "says": "Each block of weights is divided by one scale and rounded to integers: "
        "scale = largest magnitude / (2^(bits-1) - 1), integer = round(weight / scale), and "
        "integer * scale stands for the weight from then on.",
        "source": "https://arxiv.org/abs/2208.07339",
        "model": model,
        "matrix": f"{name} ({matrix.shape[0]} x {matrix.shape[1]})",
    }
    for title, seen in (("int8, a row", whole), ("int8, 64", block), ("int4, 64", four)):
        answer[f"{title} weights to a scale"] = "; ".join(
            f"{weight:+.4f} / {scale:.6f} = {integer:+d}, back {back:+.4f}"
            for weight, integer, scale, back in seen.first[:4]
        )
        answer[f"{title}: lost"] = (
            f"{seen.error:.2%} of the weights' size (root mean square), at most "
            f"{seen.largest_error:.4f}; {seen.bytes_before:,} bytes become {seen.bytes_after:,}"
        )
    return answer


def found(name: str) -> Any:
    """The row or the line of a bill that a name means.

    Raises:
        UserError: nothing has that name; the nearest names are given.
    """
    for kind in ("methods", "rules", "evidence", "models", "gpus"):
        try:
            return FINDERS[kind](name)
        except UserError:
            continue
    lines = {line["name"]: line for line in bill_lines()}
    for title, line in lines.items():
        if squeezed(title) == squeezed(name):
            return line
    known = [*lines, *(row for kind in ("methods", "rules", "evidence") for row in _ids(kind))]
    raise unknown("rule, finding, method or line of a bill", name, known)


def bill_lines() -> Iterator[dict[str, str]]:
    """The lines that bills are made of, each with its formula in words and its source."""
    seen: set[str] = set()
    for job in EXAMPLES:
        answer = estimate(settled(job))
        lines: list[Any] = list(answer.memory_gib.lines) if answer.memory_gib else []
        for line in [*lines, *answer.money.lines]:
            if line.name not in seen:
                seen.add(line.name)
                yield {"name": line.name, "why": line.why, "source": line.source}


def _ids(kind: str) -> list[str]:
    return list(KINDS[kind]())
