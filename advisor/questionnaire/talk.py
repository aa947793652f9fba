"""The conversation: one question at a time, with defaults, why, "don't know" and back."""

from typing import Protocol

from advisor.profile import ALIASES, Profile
from advisor.questionnaire.answers import answer
from advisor.questionnaire.counting import contradictions, notes
from advisor.questionnaire.policy import next_question
from advisor.questionnaire.questions import Question, question
from advisor.recommendation.words import plain
from knowledge.errors import UserError

HELP = (
    "Enter takes the default, ? says why, u is don't know, b goes back, e lists the answers and "
    "'e gap' changes one."
)


class Io(Protocol):
    """Where the conversation is held."""

    def say(self, text: str) -> None:
        """Show lines of text."""

    def read(self, prompt: str) -> str:
        """One line typed after the prompt.

        Raises:
            EOFError: nothing more will come. KeyboardInterrupt: the user stops.
        """


class Stopped(Exception):  # noqa: N818 (the user asked for it)
    """The user left; `profile` has what was answered so far."""

    def __init__(self, profile: Profile) -> None:
        super().__init__("stopped; what was answered so far is kept")
        self.profile = profile


def ask(profile: Profile, io: Io, found: str = "") -> Profile:
    """The profile once no further answer is likely to change the recommendation.

    Questions that the profile answers already, also with "don't know", are not asked.

    Args:
        found: what was found out about the machine, to be said.
    Raises:
        Stopped: the input ended or the user interrupted; it carries the profile so far.
    """
    before: list[Profile] = []
    settled: set[str] = set()
    io.say(HELP)
    if found:
        io.say(found)
    told: set[str] = set()
    try:
        while True:
            profile = _settled(profile, io, settled)
            for note in notes(profile):
                if note not in told:
                    told.add(note)
                    io.say(f"Note: {note}")
            following = next_question(profile)
            if following is None:
                return profile
            given = _given(following, len(before) + 1, profile, io)
            if given is None:
                if before:
                    profile = before.pop()
                else:
                    io.say("This is the first question.")
                continue
            before.append(profile)
            profile = given
    except (EOFError, KeyboardInterrupt):
        raise Stopped(profile) from None


def prompt(question: Question, number: int) -> str:
    """The question as it is shown, choices numbered, the default in brackets."""
    lines = [f"{number}. {question.text}"]
    for index, (value, wording) in enumerate(question.choices, 1):
        code = "" if isinstance(value, bool) else f"  ({value})"
        lines.append(f"   {index}) {wording}{code}")
    default = "don't know" if question.default is None else plain(question.default)
    return "\n".join([*lines, f"[{default}] > "])


def _given(asked: Question, number: int, profile: Profile, io: Io) -> Profile | None:
    """The profile with the answer typed; None to go back."""
    shown = prompt(asked, number)
    while True:
        text = io.read(shown).strip()
        if text == "?":
            io.say(f"   {asked.why}")
        elif text.lower() in ("b", "back"):
            return None
        elif text.lower() in ("e", "edit"):
            io.say(_listed(profile))
        elif text.lower().startswith(("e ", "edit ")):
            edited = _edited(text.split(maxsplit=1)[1].strip(), profile, io)
            if edited != profile:
                return edited  # the question at hand may not be the one to ask any more
        else:
            try:
                return answer(profile, asked.key, text)
            except UserError as error:
                io.say(f"   {error}")


def _listed(profile: Profile) -> str:
    """The answers so far, one a line."""
    lines = [
        f"   {key}: {plain(getattr(profile, key)) if known else 'not known'} ({origin})"
        for key, origin in profile.origin.items()
        if (known := getattr(profile, key) is not None) or origin == "unknown"
    ]
    return "\n".join(lines) or "   Nothing is answered yet."


def _edited(key: str, profile: Profile, io: Io) -> Profile:
    """The profile with one earlier answer given anew."""
    try:
        asked = question(ALIASES.get(key, key))
    except UserError as error:
        io.say(f"   {error}")
        return profile
    while True:
        text = io.read(prompt(asked, 0).replace("0. ", "", 1)).strip()
        if text == "?":
            io.say(f"   {asked.why}")
            continue
        try:
            return answer(profile, asked.key, text)
        except UserError as error:
            io.say(f"   {error}")


def _settled(profile: Profile, io: Io, settled: set[str]) -> Profile:
    """The profile with each new contradiction asked about, once."""
    for clash in contradictions(profile):
        if clash.key in settled:
            continue
        settled.add(clash.key)
        reply = io.read(
            f"{clash.text[:1].upper()}{clash.text[1:]}: take what the file has? [yes] > "
        )
        if reply.strip().lower() not in ("n", "no"):
            profile = profile.having("counted", **{clash.key: clash.counted})
    return profile
