"""Advice against past decisions: from a case's profile and task type alone."""

from collections.abc import Callable, Iterable, Sequence
from statistics import mean, median
from typing import Any

from msgspec.structs import asdict

from advisor.profile import settled
from advisor.questionnaire import rehearsed
from advisor.recommendation import first_place
from advisor.validate.records import CaseReport, CaseRow, CaseScores, CaseSummary
from knowledge.cases import Case
from knowledge.errors import UserError

Advice = tuple[tuple[str, ...], str, float]
"""A stack, its delivery, and how sure the advisor is of it."""
Advise = Callable[[dict[str, Any]], Advice]
Ask = Callable[[dict[str, Any]], int]

SIMPLE: dict[str, tuple[str, ...]] = {
    "always-prompt": ("prompt",),
    "always-LoRA": ("lora",),
    "always-RAG": ("rag",),
}
"""Advisors that do not look at the profile."""


def by_the_gap(known: dict[str, Any]) -> tuple[str, ...]:
    """The stack by the usual rule of thumb: facts are retrieved, form is tuned, else a prompt.

    Source: https://platform.openai.com/docs/guides/optimizing-llm-accuracy (remembered).
    """
    gap, examples = known.get("gap"), known.get("labelled_examples") or 0
    if gap in ("facts", "both"):
        return ("rag", "prompt")
    if gap in ("behaviour", "language", "preference", "cost-latency") and examples >= 50:
        return ("lora",)
    return ("prompt",)


def advised(answers: dict[str, Any]) -> Advice:
    """What the advisor recommends for a profile's answers; None of them is "don't know"."""
    known = {key: value for key, value in answers.items() if value is not None}
    way, confidence = first_place(settled(known))
    return ((), "", confidence) if way is None else (way.stack, way.delivery, confidence)


def asked(answers: dict[str, Any]) -> int:
    """The questions that the questionnaire asks someone with these answers."""
    known = {key: value for key, value in answers.items() if value is not None}
    return len(rehearsed(settled(known))[1])


def cases(
    rows: Iterable[Case],
    advise: Advise = advised,
    ask: Ask | None = None,
    *,
    one_unknown: bool = False,
) -> CaseReport:
    """Every case advised and judged, and the scores.

    Args:
        ask: the number of questions that a questionnaire asks a person with these answers.
        one_unknown: also replace each answer of each case by "don't know" (some thirty times
            the work) to see how robust the advice is.
    """
    listed = list(rows)
    judged = [_row(case, answers(case), advise) for case in listed]
    groups = {
        "group": _grouped(listed, judged, lambda case: case.group),
        "evidence": _grouped(listed, judged, lambda case: case.evidence_kind),
    }
    return CaseReport(
        "cases",
        tuple(judged),
        _summary(listed, judged, ask, _robust(listed, advise) if one_unknown else None),
        {
            key: {name: scores(rows) for name, rows in named.items()}
            for key, named in groups.items()
        },
    )


def answers(case: Case) -> dict[str, Any]:
    """What the case says was known beforehand, and nothing of how it ended."""
    return {**case.profile, "task_type": case.task_type}


def scores(rows: Sequence[CaseRow]) -> CaseScores:
    """The shares of right decisions; one without advice is wrong in every way."""
    return CaseScores(
        n=len(rows),
        **{
            key: _share([getattr(row, key) for row in rows]) or 0.0
            for key in ("primary_ok", "must_ok", "not_wrong", "all_ok", "consensus_ok")
        },
        traps=_share([row.all_ok for row in rows if row.trap]),
    )


def _row(case: Case, known: dict[str, Any], advise: Advise) -> CaseRow:
    try:
        stack, delivery, confidence = advise(known)
    except UserError as error:
        return _judged(case, (), "", None, str(error))
    return _judged(case, tuple(stack), delivery, confidence, None)


def _judged(
    case: Case, stack: tuple[str, ...], delivery: str, confidence: float | None, skipped: str | None
) -> CaseRow:
    given, labels = skipped is None, case.labels
    return CaseRow(
        id=case.id,
        stack=stack,
        delivery=delivery,
        confidence=confidence,
        primary_ok=given and labels.primary_ok(stack),
        must_ok=given and labels.must_ok(stack),
        not_wrong=given and labels.not_wrong(stack),
        all_ok=given and labels.all_ok(stack),
        consensus_ok=given and case.consensus().all_ok(stack),
        trap=case.trap,
        skipped=skipped,
    )


def _summary(
    listed: Sequence[Case], rows: Sequence[CaseRow], ask: Ask | None, robust: float | None
) -> CaseSummary:
    own = scores(rows)
    stated = [(row.confidence, row.all_ok) for row in rows if row.confidence is not None]
    return CaseSummary(
        **asdict(own),
        n_skipped=sum(row.skipped is not None for row in rows),
        confidence=mean(sure for sure, _ in stated) if stated else None,
        brier=mean((sure - right) ** 2 for sure, right in stated) if stated else None,
        brier_constant=own.all_ok * (1 - own.all_ok),
        median_questions=float(median(ask(answers(case)) for case in listed)) if ask else None,
        all_ok_one_unknown=robust,
        simple_advisors={
            name: scores([_judged(case, stack, "", None, None) for case in listed])
            for name, stack in SIMPLE.items()
        }
        | {
            "facts-RAG-form-LoRA": scores(
                [_judged(case, by_the_gap(answers(case)), "", None, None) for case in listed]
            )
        },
    )


def _robust(listed: Sequence[Case], advise: Advise) -> float | None:
    """The share of right advice over every case with every one of its answers forgotten."""
    right = [
        _row(case, known | {key: None}, advise).all_ok
        for case in listed
        for known in [answers(case)]
        for key, value in known.items()
        if value is not None
    ]
    return _share(right)


def _share(hits: Sequence[bool]) -> float | None:
    return float(mean(hits)) if hits else None


def _grouped(
    listed: Sequence[Case], rows: Sequence[CaseRow], name: Callable[[Case], str]
) -> dict[str, list[CaseRow]]:
    groups: dict[str, list[CaseRow]] = {}
    for case, row in zip(listed, rows, strict=True):
        groups.setdefault(name(case) or "not said", []).append(row)
    return groups
