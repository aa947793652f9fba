"""What to ask next: the question whose answer could still change the recommendation most."""

from collections.abc import Iterator
from typing import Any

from advisor.facts import facts
from advisor.profile import Profile
from advisor.questionnaire.questions import QUESTIONS, Question
from advisor.recommendation.beliefs import worlds
from advisor.recommendation.ranking import ranked
from knowledge.rules import Clause

BELIEVED = 0.8  # weight of what an answer most likely is; the rest is spread over all answers
ENOUGH = 0.02  # chance of changing the recommendation below which a question is not asked
FIRST = ("task_type", "gap")  # asked before anything is tried out: nothing else means much


def next_question(profile: Profile) -> Question | None:
    """The question to ask now; None when no answer is likely to change the recommendation."""
    left = list(open_questions(profile))
    for question in left:
        if question.key in FIRST:
            return question
    worth = {question.key: _worth(question, profile) for question in left}
    best = max(left, key=lambda question: worth[question.key], default=None)
    if best is None or worth[best.key] < ENOUGH:
        return None
    return best


def rehearsed(
    known: Profile, detected: tuple[str, ...] = ("hardware",)
) -> tuple[Profile, tuple[str, ...]]:
    """The profile and the questions asked, if someone answered from what is known.

    What is `detected` is not asked; what is not known is answered with "don't know".
    """
    profile = Profile().having("detected", **{key: getattr(known, key) for key in detected})
    keys: list[str] = []
    while (question := next_question(profile)) is not None:
        keys.append(question.key)
        profile = profile.having("asked", **{question.key: getattr(known, question.key)})
    return profile, tuple(keys)


def open_questions(profile: Profile) -> Iterator[Question]:
    """The questions that apply and have no answer yet, in the order of the core."""
    known = facts(profile)
    for question in QUESTIONS.values():
        answered = getattr(profile, question.key) is not None or question.key in profile.origin
        if not answered and all(_possible(clause, known) for clause in question.when):
            yield question


def values(question: Question) -> tuple[Any, ...]:
    """The answers worth trying out."""
    return tuple(value for value, _ in question.choices) or question.examples


def _possible(clause: Clause, known: dict[str, Any]) -> bool:
    """Whether a condition holds or may hold: an unknown fact leaves it open."""
    return clause.fact not in known or clause.holds(known)


def _worth(question: Question, profile: Profile) -> float:
    """The chance that the answer changes the stack (or, counted half, its delivery)."""
    answers = profile.answers()
    now = ranked(answers, quick=True).first
    change = 0.0
    for value, share in _shares(question, answers).items():
        then = ranked({**answers, question.key: value}, quick=True).first
        if then == now:
            continue
        same_stack = then is not None and now is not None and then.stack == now.stack
        change += share * (0.5 if same_stack else 1.0)
    return change


def _shares(question: Question, answers: dict[str, Any]) -> dict[Any, float]:
    """How likely each answer is: as believed, and a little of everything."""
    tried = values(question)
    shares = dict.fromkeys(tried, (1 - BELIEVED) / len(tried))
    for world, share in worlds(answers):
        value = world.get(question.key)
        if value is not None:
            shares[value] = shares.get(value, 0.0) + BELIEVED * share
    return shares
