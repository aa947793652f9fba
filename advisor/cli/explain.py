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
@common
def explain(name: str, as_json: bool, quiet: bool) -> None:
    """What a rule, a finding, a method or a line of a bill is; its formula and its source."""
    show_row(found(name), as_json=as_json)


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
