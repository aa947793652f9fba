"""The questionnaire: asks only what could still change the recommendation.

It does not know the terminal: `ask` talks through an `Io`, and typing, `--answers` and `--set`
all go through `answer`.
"""

from advisor.questionnaire.answers import answer, answered
from advisor.questionnaire.counting import Contradiction, contradictions, filled
from advisor.questionnaire.policy import next_question, open_questions, rehearsed
from advisor.questionnaire.questions import QUESTIONS, Question, question
from advisor.questionnaire.talk import Io, Stopped, ask

__all__ = [
    "QUESTIONS",
    "Contradiction",
    "Io",
    "Question",
    "Stopped",
    "answer",
    "answered",
    "ask",
    "contradictions",
    "filled",
    "next_question",
    "open_questions",
    "question",
    "rehearsed",
]
