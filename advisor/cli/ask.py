"""`advisor ask`."""

import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from advisor import doctor
from advisor import profile as profiles
from advisor.cli import INTERRUPTED
from advisor.cli.output import common, notes, print_json
from advisor.profile import FILES, Profile
from advisor.questionnaire.answers import answered
from advisor.questionnaire.talk import Stopped
from advisor.questionnaire.talk import ask as conversation
from knowledge.errors import UserError
from knowledge.tables import yaml_value

DEFAULT_OUT = Path("profile.yaml")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Where the profile goes.")
@click.option(
    "--answers", "file", type=click.Path(path_type=Path), help="Answers as YAML: nothing is asked."
)
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="One answer; repeatable.")
@click.option("--resume", is_flag=True, help="Ask what the --answers file leaves open.")
@common
def ask(
    out: Path | None,
    file: Path | None,
    pairs: tuple[str, ...],
    resume: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Answer a few questions and get a profile; files and flags give the same one.

    Enter takes the default, ? says why it is asked, u is "don't know", b goes back. On a terminal
    the profile goes to profile.yaml, or to --out.
    """
    # Flags alone, from a script, are the whole answer: nothing is read that may never come.
    typing = resume or (file is None and (sys.stdin.isatty() or not pairs))
    if typing and out is None and sys.stdin.isatty():
        out = DEFAULT_OUT
        if out.exists():
            raise UserError(
                f"{out} is there already; give another --out, "
                f"or go on with it: advisor ask --answers {out} --resume --out {out}"
            )
    given = dict(_pair(pair) for pair in pairs)
    if resume and file is not None:  # what was answered with "don't know" stays so
        profile = answered(profiles.read(file), given)
    else:
        profile = answered(_start(), {**_from_file(file), **given})
    if typing:
        profile = _asked(profile, out, quiet=quiet)
    _hand_over(profile, out, as_json=as_json, quiet=quiet)


def _start() -> Profile:
    return Profile().having("detected", hardware=doctor.machine().word)


def _found(profile: Profile) -> str:
    """What was found here, in a sentence."""
    here = doctor.machine()
    cards = ", ".join(f"{card.name} ({card.memory_gib:.0f} GiB)" for card in here.cards)
    said = f"Found here: {cards or 'no GPU'}, {here.cores} cores, {here.memory_gib:.0f} GiB memory"
    if profile.origin.get("hardware") == "detected":
        return f"{said}; --set hardware=... names other GPUs."
    return f"{said}."


def _from_file(file: Path | None) -> Mapping[str, Any]:
    """The answers of a file; its paths are relative to its own folder."""
    if file is None:
        return {}
    given = yaml_value(file)
    if not isinstance(given, dict):
        raise UserError(
            f"{str(file)!r} holds no answers; write lines such as 'task_type: classify'"
        )
    base = file.resolve().parent
    return {
        key: str(base / Path(value).expanduser())
        if profiles.ALIASES.get(str(key), str(key)) in FILES and isinstance(value, str)
        else value
        for key, value in given.items()
    }


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text!r} is not KEY=VALUE, as in --set task_type=classify")
    return key.strip(), value


class Terminal:
    """The conversation on the terminal; questions go to stderr, so that stdout stays a result."""

    def say(self, text: str) -> None:
        """Show lines of text."""
        click.echo(_wrapped(text), err=True)

    def read(self, prompt: str) -> str:
        """One line typed after the prompt."""
        click.echo(_wrapped(prompt), nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")


def _wrapped(text: str) -> str:
    """Long lines broken between words at the terminal's width, under their own indentation."""
    width = shutil.get_terminal_size().columns
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        short = len(line) < width
        lines.append(line if short else textwrap.fill(line, width, subsequent_indent=indent))
    return "\n".join(lines)


def _asked(profile: Profile, out: Path | None, *, quiet: bool) -> Profile:
    try:
        return conversation(profile, Terminal(), _found(profile))
    except Stopped as stopped:
        if not sys.stdin.isatty():  # the end of piped answers: the rest is not known
            return stopped.profile
        if out is not None:
            profiles.write(stopped.profile, out)
            said = f"kept so far; go on with: advisor ask --answers {out} --resume --out {out}"
            notes(quiet=quiet).print(f"\n{said}", markup=False)
        raise click.exceptions.Exit(INTERRUPTED) from None


def _hand_over(profile: Profile, out: Path | None, *, as_json: bool, quiet: bool) -> None:
    if out is not None:
        profiles.write(profile, out)
        said = f"profile: {out}; next: advisor recommend {out}"
        notes(quiet=quiet).print(said, markup=False)
    if as_json:
        print_json(profile)
    elif out is None:
        click.echo(profiles.text(profile), nl=False)
