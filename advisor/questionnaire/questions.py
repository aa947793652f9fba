"""The questions, one for each profile field that changes the advice, in the order of the core.

Text, why and wording stand here and nowhere else; keys, types and allowed values are the
profile's own.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from knowledge.errors import unknown
from knowledge.rules import Clause


class Question(msgspec.Struct, frozen=True):
    """One question: the prompt, why it is asked, its choices in words, and what Enter means.

    `choices` pairs a value with its wording, () for numbers; `examples` are values worth trying
    out for a number; `when` are conditions on the facts so far, all of which must not be known
    to be false (a question about classes waits until the task is a label).
    """

    key: str
    text: str
    why: str
    default: Any
    choices: tuple[tuple[Any, str], ...] = ()
    examples: tuple[float, ...] = ()
    file: str | None = None
    when: tuple[Clause, ...] = ()
    core: bool = False


def _is(fact: str, *among: Any) -> Clause:
    return Clause(fact=fact, among=among)


CORE = (
    Question(
        key="task_type",
        text="What should come out?",
        why="A label or fields can come from a small trained encoder; text cannot, worked "
        "solutions need more than examples, and sequences that are not language need their own "
        "model.",
        default="assistant",
        choices=(
            ("classify", "a label"),
            ("extract", "fields or spans of the input"),
            ("qa", "an answer from facts"),
            ("assistant", "a conversation"),
            ("generate", "a text in a certain style"),
            ("summarize", "a summary"),
            ("translate", "a translation"),
            ("code", "code"),
            ("sql", "a database query"),
            ("reason", "a worked solution"),
            ("predict-sequence", "a prediction from sequences that are not language"),
        ),
        core=True,
    ),
    Question(
        key="gap",
        text="When a good general model fails at this, what is wrong?",
        why="The main fork: missing facts are retrieved, wrong form is tuned, a language is "
        "pretrained, preferences are aligned, and cost is cut by a smaller model.",
        default=None,
        choices=(
            ("facts", "it lacks facts"),
            ("behaviour", "the form, label or style is wrong"),
            ("both", "facts and form"),
            ("language", "it does not speak this language or notation"),
            ("preference", "it is right, but people prefer another answer"),
            ("cost-latency", "it is good, but too dear or too slow"),
        ),
        core=True,
    ),
    Question(
        key="labelled_examples",
        text="How many input-output pairs do you have, or could get in two weeks (a number, or "
        "a file to count)?",
        why="Under 50 nothing is tuned; hundreds are enough for labels, thousands for style; "
        "tens of thousands set the behaviour of a bare model.",
        default=0,
        examples=(0, 200, 1000, 10_000, 300_000),
        file="data",
        core=True,
    ),
    Question(
        key="unlabelled_tokens",
        text="How much raw text of the domain is there, in tokens (a number, or a folder)?",
        why="What fits in a prompt is prompted, more is retrieved, and from billions of tokens "
        "a model can be pretrained further.",
        default=0,
        examples=(0, 5_000_000, 2_000_000_000, 20_000_000_000, 200_000_000_000),
        file="corpus",
        core=True,
    ),
    Question(
        key="corpus_in_base",
        text="Could public models have read that text?",
        why="What they have read they partly know; what is private or new has to be given to them.",
        default="public-likely-in-base",
        choices=(
            ("public-likely-in-base", "yes, it is public"),
            ("proprietary", "no, it is ours"),
            ("new-or-rare", "no, it is new or rare"),
            ("mixed", "in part"),
        ),
        core=True,
    ),
    Question(
        key="data_change",
        text="How often do the facts change?",
        why="An index is updated in minutes; weights go stale.",
        default="monthly",
        choices=(
            ("static", "never"),
            ("yearly", "yearly"),
            ("monthly", "monthly"),
            ("daily", "daily"),
            ("live", "all the time"),
        ),
        core=True,
    ),
    Question(
        key="citations",
        text="Must an answer name its source?",
        why="Sources have to be retrieved; from memory models make them up.",
        default=False,
        choices=((True, "yes"), (False, "no")),
        when=(_is("task_type", "qa", "assistant", "generate", "summarize", "reason", "code"),),
        core=True,
    ),
    Question(
        key="privacy",
        text="Where may the text go?",
        why="It decides whether hosted models are open to you, and how large a model can be.",
        default="private-cloud",
        choices=(
            ("api-ok", "to any API"),
            ("private-cloud", "to a cloud under contract"),
            ("on-prem", "nowhere but our machines"),
            ("on-device", "nowhere but the user's device"),
        ),
        core=True,
    ),
    Question(
        key="expertise",
        text="Who will build and keep it?",
        why="Pretraining and on-policy training need a team that has done it.",
        default="dev",
        choices=(
            ("dev", "developers"),
            ("ml", "machine-learning engineers"),
            ("research", "a research team"),
        ),
        core=True,
    ),
    Question(
        key="hardware",
        text="What GPUs can you use (a choice, or such as 2xA100-SXM-80GB)?",
        why="Memory decides what can be trained and served at home.",
        default="none",
        choices=(
            ("none", "none"),
            ("1x16GB", "one of 16 GB"),
            ("1x24GB", "one of 24 GB"),
            ("1x48GB", "one of 48 GB"),
            ("1x80GB", "one of 80 GB"),
            ("8x80GB", "eight of 80 GB"),
            ("cluster", "a cluster"),
        ),
        core=True,
    ),
    Question(
        key="train_budget_usd",
        text="How much may training cost, in USD?",
        why="It rents what you do not have, and bounds what is proposed.",
        default=500,
        examples=(0, 500, 20_000, 1_000_000),
        core=True,
    ),
)
CONDITIONAL = (
    Question(
        key="n_classes",
        text="How many different labels are there?",
        why="What counts is the number of examples for each label.",
        default=2,
        examples=(2, 20, 300),
        when=(_is("task_type", "classify"),),
    ),
    Question(
        key="tried",
        text="What have you tried?",
        why="Prompting comes first unless it was measured; where retrieval was not enough, the "
        "reader is tuned.",
        default="nothing",
        choices=(
            ("nothing", "nothing yet"),
            ("prompt-insufficient", "prompting, and it was not enough"),
            ("prompt-works-too-costly", "prompting, which works but costs too much"),
            ("rag-insufficient", "retrieval, and it was not enough"),
        ),
    ),
    Question(
        key="volume_per_month",
        text="How many requests a month?",
        why="High volume repays a small model of one's own.",
        default=10_000,
        examples=(1000, 100_000, 5_000_000),
    ),
    Question(
        key="latency",
        text="How fast must an answer be?",
        why="Small models answer in under a second; what can wait is cheaper.",
        default="seconds",
        choices=(
            ("batch", "it can wait"),
            ("seconds", "within seconds"),
            ("sub-second", "in under a second"),
        ),
    ),
    Question(
        key="domain_distance",
        text="How far is the text from ordinary language?",
        why="Far from it, prompts reach less and pretraining more.",
        default="jargon",
        choices=(
            ("general", "ordinary language"),
            ("jargon", "ordinary language with terms of the field"),
            ("specialised", "records, code or notation of a special field"),
            ("new-language", "a language that models hardly know"),
            ("non-text", "not language: molecules, genes, music, events"),
        ),
    ),
    Question(
        key="preference_pairs",
        text="How many judgements of which of two answers is better do you have?",
        why="A thousand are worth a first try at preference tuning; reward models need very many.",
        default=0,
        examples=(0, 5000, 500_000),
        when=(_is("gap", "preference", "both", "language"),),
    ),
    Question(
        key="verifiable_reward",
        text="Can a program tell whether an answer is right?",
        why="Then the check can be the reward of reinforcement learning.",
        default=False,
        choices=((True, "yes"), (False, "no")),
        when=(_is("task_type", "reason", "code", "sql", "classify", "extract"),),
    ),
    Question(
        key="n_tasks_on_base",
        text="How many tasks shall share one base model?",
        why="Many tasks call for adapters on one base rather than copies of it.",
        default=1,
        examples=(1, 5),
        when=(Clause(fact="labelled_examples", at_least=500),),
    ),
    Question(
        key="provenance",
        text="What must you be able to show of the model's origin?",
        why="Some licences and some regulators rule out bases that others trained.",
        default="any",
        choices=(
            ("any", "nothing"),
            ("open-licence", "an open licence"),
            ("own-lineage", "that every weight is ours"),
        ),
        when=(Clause(fact="unlabelled_tokens", at_least=1e9),),
    ),
    Question(
        key="error_cost",
        text="How dear is a wrong answer?",
        why="It sets the guards and the size of the evaluation, never the approach alone.",
        default="medium",
        choices=(("low", "hardly"), ("medium", "somewhat"), ("high", "very")),
    ),
)
QUESTIONS: Mapping[str, Question] = {question.key: question for question in (*CORE, *CONDITIONAL)}


def question(key: str) -> Question:
    """The question of a key.

    Raises:
        UserError: nothing asks for that key.
    """
    if key not in QUESTIONS:
        raise unknown("question", key, QUESTIONS)
    return QUESTIONS[key]
