"""The report of a curation: what each step took out and left, in figures and samples."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined

from backends.curation.publishing import EXACT_COPIES, NEAR_COPIES, Written
from backends.curation.records import Counts, Ledger, Sample
from backends.curation.sieves import (
    BIAS,
    DECONTAMINATION,
    LANGUAGE,
    PERSONAL,
    READ,
    REPAIR,
    TOXICITY,
)
from backends.curation.tokens import Tokens
from knowledge import filters

SAYS = {
    READ: ("files and rows that could be read", ""),
    REPAIR: ("encodings mended, nothing but white space dropped", "https://ftfy.readthedocs.io"),
    LANGUAGE: ("language told and wanted", "https://aclanthology.org/P12-3005"),
    PERSONAL: ("secrets and personal data by the forms their issuers document", ""),
    TOXICITY: ("words of abuse counted", "https://arxiv.org/abs/2104.08758"),
    BIAS: ("abuse in one sentence with the name of a group", "https://arxiv.org/abs/2104.08758"),
    DECONTAMINATION: (
        "no thirteen words in a row from the evaluation set",
        "https://arxiv.org/abs/2005.14165",
    ),
    EXACT_COPIES: ("the same words as an earlier text", ""),
    NEAR_COPIES: (
        "runs of five words shared with an earlier text",
        "https://doi.org/10.1109/SEQUEN.1997.666900",
    ),
}


class Line(msgspec.Struct, frozen=True):
    """One step: what came in, what it took out, samples of both; tokens are by bytes."""

    step: str
    says: str
    source: str
    documents_in: int
    documents_dropped: int
    documents_changed: int
    bytes_in: int
    bytes_dropped: int
    tokens_in: int
    tokens_dropped: int
    reasons: dict[str, int]
    kept: tuple[Sample, ...]
    dropped: tuple[Sample, ...]


class Group(msgspec.Struct, frozen=True):
    """A group of people: texts that name it, those with abuse beside it, what steps dropped."""

    group: str
    documents: int
    abused: int
    dropped: dict[str, int]


class Report(msgspec.Struct, frozen=True):
    """All that is told of a curation."""

    documents_read: int
    documents_kept: int
    tokens_read: int
    tokens_kept: int
    tokens_train: int
    tokens_validation: int
    bytes_per_token: float
    tokens_are: str
    tokens_per_word: float | None
    tokens_per_word_base: float | None
    survival: float
    steps: tuple[Line, ...]
    languages: dict[str, int]
    personal: dict[str, int]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def report(
    ledger: Ledger,
    steps: Sequence[str],
    written: Written,
    made: Tokens | None,
    rate: tuple[float, str],
    notes: Sequence[str],
) -> Report:
    """The report of a pipeline's counts.

    Args:
        steps: all steps in order.
        made: the corpus' tokens, where a tokenizer was asked for.
        rate: bytes of one token where none was, and what kind of figure that is.
    """
    bytes_per_token, counted = rate
    if made is not None and made.own.bytes_per_token:
        bytes_per_token = made.own.bytes_per_token
        counted = (
            f"counted in the corpus with its vocabulary of {made.vocabulary:,}, by bytes before"
        )

    def tokens(size: int) -> int:
        return round(size / bytes_per_token)

    told: list[Line] = []
    left = Counts(ledger.read.documents, ledger.read.bytes)
    for step in steps:
        tally = ledger.tally(step)
        says, source = _said(step)
        told.append(
            Line(
                step=step,
                says=says,
                source=source,
                documents_in=left.documents,
                documents_dropped=tally.dropped.documents,
                documents_changed=tally.changed,
                bytes_in=left.bytes,
                bytes_dropped=tally.dropped.bytes,
                tokens_in=tokens(left.bytes),
                tokens_dropped=tokens(tally.dropped.bytes),
                reasons=dict(sorted(tally.reasons.items(), key=lambda item: -item[1])[:10]),
                kept=tuple(tally.kept_samples),
                dropped=tuple(tally.dropped_samples),
            )
        )
        left = Counts(left.documents - tally.dropped.documents, left.bytes - tally.dropped.bytes)
    sizes = written.train.bytes, written.validation.bytes
    train, validation = map(tokens, sizes) if made is None else (made.train, made.validation)
    read = tokens(ledger.read.bytes)
    return Report(
        documents_read=ledger.read.documents,
        documents_kept=written.train.documents + written.validation.documents,
        tokens_read=read,
        tokens_kept=train + validation,
        tokens_train=train,
        tokens_validation=validation,
        bytes_per_token=round(bytes_per_token, 4),
        tokens_are=counted,
        tokens_per_word=made and made.own.tokens_per_word,
        tokens_per_word_base=made and made.base and made.base.tokens_per_word,
        survival=round(sum(sizes) / ledger.read.bytes, 4) if ledger.read.bytes else 0.0,
        steps=tuple(told),
        languages=dict(sorted(ledger.languages.items(), key=lambda item: -item[1])),
        personal=ledger.personal,
        groups=tuple(_groups(ledger)),
        notes=(*notes, *(made.notes if made else ())),
    )


def page(told: Report, title: str) -> str:
    """The report as one HTML page without scripts or links to load."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = files("backends.curation").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(report=told, title=title)


def _said(step: str) -> tuple[str, str]:
    if step in SAYS:
        return SAYS[step]
    row = filters.table()[step]
    return row.says, row.source


def _groups(ledger: Ledger) -> list[Group]:
    found: list[Group] = []
    for group, count in sorted(ledger.groups.items(), key=lambda item: -item[1]):
        dropped: dict[str, Any] = {
            step: tally.groups[group]
            for step, tally in ledger.tallies.items()
            if group in tally.groups
        }
        found.append(Group(group, count, ledger.abused.get(group, 0), dropped))
    return found
