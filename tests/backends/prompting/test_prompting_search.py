"""Variants compared on held-out items: the right one wins, the test data stays unseen."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking_runs import loopback
from loopback import Loopback

from backends.base import Context, Data, Interrupted, Step
from backends.prompting import BACKEND
from backends.prompting.search import read
from knowledge.errors import UserError

GOOD, POOR, FAIR = "Sort it with care.", "Sort it at random.", "Sort it, somehow."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    for state in loopback(monkeypatch):
        state.reply = reply
        yield state


def reply(asked: str) -> str:
    """Right with care; else right for one item in two or in ten."""
    if asked.startswith("Rewrite this"):
        return "Do sort it at random."
    number = int(asked.rsplit(" ", 1)[1].split("\n")[0])
    right = ("card", "transfer")[number % 2]
    wrong = ("transfer", "card")[number % 2]
    if asked.startswith(GOOD):
        return right
    every = 2 if asked.startswith(FAIR) else 10
    return right if (number // 2) % every == 0 else wrong


def step(folder: Path, search: dict[str, Any], **settings: Any) -> Step:
    for name, size in (("train", 300), ("test", 20)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([f"{name} {n}", ("card", "transfer")[n % 2]] for n in range(size))
    usual = {
        "cache": False, "usd_per_1m_input": 100, "usd_per_1m_output": 400, "search": search,
        "concurrency": 16,
    }  # fmt: skip
    data = Data(train=str(folder / "train.csv"), test=str(folder / "test.csv"))
    return Step("ask", "prompt", model="m", data=data, settings={**usual, **settings})


def test_the_better_wording_wins_and_the_poor_ones_leave_early(
    server: Loopback, tmp_path: Path
) -> None:
    search = {"instructions": [POOR, GOOD, FAIR], "items": 100, "first": 25}
    asked = step(tmp_path, search)
    BACKEND.check(asked, Context(tmp_path, budget_usd=50.0))
    result = BACKEND.run(asked, Context(tmp_path, budget_usd=50.0))
    found = read(tmp_path)
    assert found.best.instruction == GOOD
    assert result.settings["instruction"] == GOOD
    assert result.metrics["accuracy"].value == 1.0
    first, *others = found.standings
    assert first.score.n == 25 and {one.dropped_after for one in others} == {25}
    assert all((one.behind.low or 0) > 0 for one in others)
    assert found.spread is not None and found.spread[1] == 1.0 and found.spread[0] < 0.4
    texts = server.asked()
    assert len(texts) == 3 * 25 + 20
    assert not any("test" in text for text in texts[:75])
    assert all("test" in text for text in texts[75:])
    assert any("over 3 wordings" in note for note in result.notes)
    assert result.usd == pytest.approx(server.usd)
    assert first.usd_per_1000 is not None and first.usd_per_1000 > 0


def test_what_is_as_good_and_cheaper_wins(server: Loopback, tmp_path: Path) -> None:
    search = {"shots": [8, 0], "choices": ["balanced", "fixed"], "items": 60, "first": 20}
    BACKEND.run(step(tmp_path, search, instruction=GOOD), Context(tmp_path))
    found = read(tmp_path)
    assert [one.variant.shots for one in found.standings] == [0, 8, 8]
    assert all(one.score.n == 60 and one.dropped_after is None for one in found.standings)
    prices = [one.usd_per_1000 or 0 for one in found.standings]
    assert prices[0] < prices[1]
    dev = {text.rsplit("Text: ", 1)[1].split("\n")[0] for text in server.asked()[:180]}
    shown = server.asked()[0].split("Text: ")[1:-1]
    assert not {text.split("\n")[0] for text in shown} & dev  # examples are none of the asked


def test_the_model_words_the_instruction_anew_and_a_stop_is_gone_on_with(
    server: Loopback, tmp_path: Path
) -> None:
    search = {"paraphrases": 2, "items": 40, "first": 40}
    asked = step(tmp_path, search, instruction=GOOD)
    stops = iter([False] * 50)
    with pytest.raises(Interrupted):
        BACKEND.run(asked, Context(tmp_path, should_stop=lambda: next(stops, True)))
    BACKEND.run(asked, Context(tmp_path, resume=True))
    assert sum(text.startswith("Rewrite") for text in server.asked()) == 2
    found = read(tmp_path)
    assert [one.variant.instruction for one in found.standings] == [GOOD, "Do sort it at random."]
    assert server.requests == 2 + 2 * 40 + 20


def test_searches_that_compare_nothing_are_refused(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one variant only"):
        BACKEND.run(step(tmp_path, {"shots": [0]}), Context(tmp_path))
    asked = step(tmp_path, {"instructions": ["a", "b"]})
    data = Data(test=asked.data.test)
    alone = Step("ask", "prompt", model="m", data=data, settings=asked.settings)
    with pytest.raises(UserError, match="compares on held-out data"):
        BACKEND.check(alone, Context(tmp_path))
