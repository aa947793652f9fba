"""`advisor rank`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import backends
from advisor import ranking
from advisor.cli.output import common, notes, print_json
from advisor.ranking import Candidates, Collected
from knowledge.errors import UserError


class Terminal:
    """The conversation on the terminal: what is shown goes to stderr, stdout is the result's."""

    def say(self, text: str) -> None:
        """Show lines of text."""
        click.echo(text, err=True)

    def read(self, prompt: str) -> str:
        """One line typed after the prompt."""
        click.echo(prompt, nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line


@click.command()
@click.argument("prompts", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="JSONL that the orders go to."
)
@click.option(
    "--from",
    "run_dir",
    type=click.Path(path_type=Path),
    help="Run whose model answers the prompts that have no responses.",
)
@click.option(
    "--answers", default=4, show_default=True, type=click.IntRange(2, 9), help="Answers a prompt."
)
@click.option(
    "--temperature", default=1.0, show_default=True, type=click.FloatRange(0.05, 5.0),
    help="Of sampling.",
)  # fmt: skip
@click.option("--annotator", help="Who judges; agreement between people is counted by it.")
@common
def rank(
    prompts: Path,
    out: Path,
    run_dir: Path | None,
    answers: int,
    temperature: float,
    annotator: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rank answers by hand, such as C>B=D>A; saved at once, gone on with where it stopped."""
    listed = ranking.read(prompts)
    already = ranking.done(out, annotator)
    todo = [one for one in listed if one.prompt not in already]
    if run_dir is None and any(not one.responses for one in todo):
        raise UserError(
            f"{prompts.name} holds prompts without 'responses'; name the run that is to answer "
            "them: --from RUN_DIR"
        )
    asked = _answered(todo, run_dir, answers, temperature)
    told = list(ranking.collect(asked, out, annotator, Terminal(), len(todo)))
    found = Collected(
        out=str(out),
        ranked=len(already) + sum(told),
        skipped=len(told) - sum(told),
        left=len(todo) - len(told),
    )
    if as_json:
        print_json(found)
        return
    notes(quiet=quiet).print(
        f"\n{found.ranked} ranked in {out}, {found.skipped} skipped, {found.left} left",
        markup=False,
    )


def _answered(
    todo: Sequence[Candidates], run_dir: Path | None, answers: int, temperature: float
) -> Iterator[Candidates]:
    """The prompts with responses, sampled one prompt ahead where they have none."""
    lacking = [one.prompt for one in todo if not one.responses]
    drawn: Iterator[backends.base.Prediction] = iter(())
    if run_dir is not None and lacking:
        drawn = backends.load("ppo").predict(
            run_dir, lacking, samples=answers, temperature=temperature
        )
    for one in todo:
        if one.responses:
            yield one
            continue
        said = dict.fromkeys(next(drawn).answer or "" for _ in range(answers))
        some = tuple(text for text in said if text.strip())
        if len(some) > 1:
            yield Candidates(one.prompt, some)
