"""How good the advice is on past decisions, and how much hangs on any one rule or weight.

    python benchmarks/advice.py [CASES.yaml] [--draws 12] [--out docs/advice.md]

Rules and beliefs were written with the packaged decisions in view, so a share of them says little
of decisions that nobody has seen. What says more: the same with one answer forgotten, with all
points off by a quarter or a half at random, and with each rule left out in turn.
"""

import argparse
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from msgspec.structs import replace

from advisor.profile import settled
from advisor.recommendation import judgement
from advisor.recommendation.ranking import ranked
from advisor.validate.cases import asked
from advisor.validate.cases import cases as judged
from knowledge import cases, rules

COLD = (
    "import time\n"
    "from advisor.profile import settled\n"
    "from advisor.recommendation import recommend\n"
    "found = recommend(settled({'task_type': 'assistant', 'gap': 'behaviour', 'hardware': 'none',\n"
    "    'labelled_examples': 5000, 'privacy': 'private-cloud', 'train_budget_usd': 5000}))\n"
    "print(time.process_time(), found.considered)\n"
)


def wrong(rows: list[tuple[cases.Case, dict[str, Any]]]) -> list[str]:
    """The decisions that the rules, as they stand in the table, get wrong."""
    judgement.after_firing.cache_clear()
    judgement.barred.cache_clear()
    firsts = ((case, ranked(known).first) for case, known in rows)
    return [case.id for case, way in firsts if way is None or not case.labels.all_ok(way.stack)]


def scored(rows: list[cases.Case]) -> Iterator[str]:
    """The scores beside those of simple advisors."""
    summary = judged(rows, ask=asked, one_unknown=True).summary
    yield "| advisor | primary | musts | nothing wrong | all three | consensus | traps |"
    yield "|---|---|---|---|---|---|---|"
    for name, s in {"this advisor": summary, **summary.simple_advisors}.items():
        shares = (s.primary_ok, s.must_ok, s.not_wrong, s.all_ok, s.consensus_ok, s.traps or 0.0)
        yield f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares) + " |"
    yield ""
    yield (
        f"Stated confidence {summary.confidence:.3f} on average, Brier score {summary.brier:.4f} "
        f"(a constant's {summary.brier_constant:.4f}); median questions asked "
        f"{summary.median_questions:g}; with one answer forgotten all three right in "
        f"{summary.all_ok_one_unknown:.3f}."
    )


def shaken(rows: list[tuple[cases.Case, dict[str, Any]]], draws: int) -> Iterator[str]:
    """All three right with every rule's points off at random."""
    table, kept = rules.table(), dict(rules.table())
    source = random.Random(13)
    yield "| points off by (standard deviation) | mean | least | missed most |"
    yield "|---|---|---|---|"
    for spread in (0.25, 0.5):
        shares, missed = [], Counter[str]()
        for _ in range(draws):
            for key, rule in kept.items():
                table[key] = replace(
                    rule,
                    first={word: p * source.gauss(1, spread) for word, p in rule.first.items()},
                    further={word: p * source.gauss(1, spread) for word, p in rule.further.items()},
                )
            names = wrong(rows)
            shares.append(1 - len(names) / len(rows))
            missed.update(names)
        most = ", ".join(f"{name} ({count} of {draws})" for name, count in missed.most_common(3))
        yield f"| {spread:.0%} | {mean(shares):.3f} | {min(shares):.2f} | {most} |"
    table.update(kept)


def without_each(rows: list[tuple[cases.Case, dict[str, Any]]]) -> Iterator[str]:
    """The rules whose absence alone costs a decision."""
    table, kept = rules.table(), dict(rules.table())
    usual = set(wrong(rows))
    yield "| left out | kind | decisions lost |"
    yield "|---|---|---|"
    for key, rule in kept.items():
        del table[key]
        lost = [name for name in wrong(rows) if name not in usual]
        table.clear()
        table.update(kept)
        if lost:
            yield f"| {key} | {rule.kind} | {', '.join(lost)} |"
    yield ""
    yield f"Of the other rules none is missed alone ({len(kept)} rules in all)."


def page(file: Path | None, draws: int) -> Iterator[str]:
    """The whole page, line by line."""
    listed = cases.rows(file)
    known = [
        (
            case,
            settled(
                {
                    key: value
                    for key, value in {**case.profile, "task_type": case.task_type}.items()
                    if value is not None
                }
            ).answers(),
        )
        for case in listed
    ]
    yield "# The advice on past decisions\n"
    yield f"`python benchmarks/advice.py --draws {draws}` on {len(listed)} decisions. The rules"
    yield "were written with them in view: read the first table with care, the others for how much"
    yield "hangs on any one answer, weight or rule.\n"
    yield from scored(listed)
    yield "\n## With every weight off at random\n"
    yield from shaken(known, draws)
    yield "\n## With each rule left out in turn\n"
    yield from without_each(known)
    done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True)
    seconds, considered = done.stdout.split()
    yield "\n## Time\n"
    yield (
        f"A whole recommendation over the catalogue from a cold start: {float(seconds):.2f} s of "
        f"process time for {int(considered):,} options."
    )


def main() -> None:
    """Print the page, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    text = "\n".join(page(given.file, given.draws)) + "\n"
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
