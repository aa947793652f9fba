"""One answer taken: typed, from a file of answers, or from a flag; always the same way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advisor.profile import ALIASES, FILES, Profile, number
from advisor.questionnaire.counting import contradictions, filled
from advisor.questionnaire.questions import QUESTIONS, Question
from knowledge.errors import UserError

DONT_KNOW = ("u", "?u", "unknown", "don't know", "dont know")


def answer(profile: Profile, key: str, given: Any) -> Profile:
    """The profile with one more answer.

    Text is read as a person types it: nothing is the default, `u` is "don't know", a number
    chooses among the choices, and a path where a count is asked for is counted. Other values are
    taken as they are; None is "don't know".

    Raises:
        UserError: an unknown key, or an answer that does not fit.
    """
    key = ALIASES.get(key, key)
    question = QUESTIONS.get(key)
    if isinstance(given, str):
        text = given.strip()
        if question is not None and text == "":
            return profile.having("default", **{key: question.default})
        if text.lower() in DONT_KNOW:
            return profile.having("asked", **{key: None})
        if question is not None:
            given = _chosen(question, text)
            if question.file is not None and _is_path(text):
                return _with_file(profile, question.file, text, key)
    if key in FILES and given is not None:
        return _with_file(profile, key, str(given))
    return profile.having("asked", **{key: given})


def answered(profile: Profile, given: Mapping[str, Any], *, alone: bool = True) -> Profile:
    """The profile with many answers, as `--answers` and `--set` give them.

    Where an answer and a file disagree, the file is right, unless a person can be asked.

    Args:
        alone: nobody will be asked.

    Raises:
        UserError: an unknown key, or an answer that does not fit.
    """
    for key, value in given.items():
        if key == "origin":
            continue
        profile = answer(profile, str(key), value)
    for clash in contradictions(profile) if alone else ():
        profile = profile.having("counted", **{clash.key: clash.counted})
    return profile


def _chosen(question: Question, text: str) -> Any:
    """The value that a typed number or wording chooses; other text as it is."""
    if question.choices and text.isdigit() and 1 <= int(text) <= len(question.choices):
        return question.choices[int(text) - 1][0]
    for value, wording in question.choices:
        if text.lower() == wording.lower():
            return value
    return text


def _is_path(text: str) -> bool:
    """Whether an answer to a question that counts is a file: whatever is no number."""
    try:
        number(text)
    except ValueError:
        return True
    return False


def _with_file(profile: Profile, key: str, text: str, asked: str | None = None) -> Profile:
    """The profile with a file or folder, and what it tells; the key asked for is counted anew."""
    path = Path(text).expanduser()
    hint = "a number, or another file or folder" if asked else "the path of one that exists"
    if not path.exists():
        raise UserError(f"{asked or key}: no file or folder {text!r}; give {hint}")
    values: dict[str, Any] = {key: str(path.resolve())}
    if asked is not None:
        values[asked] = None
    profile = filled(profile.having("asked", **values))
    if asked is not None and getattr(profile, asked) is None:
        raise UserError(f"{asked}: {path.name} holds nothing to count for it; give {hint}")
    return profile
