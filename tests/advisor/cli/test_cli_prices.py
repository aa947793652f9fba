"""`advisor catalog prices --import`: shown first, then taken over, and used from then on."""

import json
from pathlib import Path

import pytest

from knowledge import own_prices, prices


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(own_prices.VARIABLE, raising=False)
    prices.reload()
    yield tmp_path
    monkeypatch.undo()
    prices.reload()


def test_an_import_changes_what_estimates_cost(command, here: Path) -> None:
    row = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "mode": "chat"}
    Path("list.json").write_text(json.dumps({"gpt-next": row}), encoding="utf-8")
    dry = command("catalog", "prices", "--import", "list.json", "--dry-run")
    assert dry.code == 0 and "1 new" in dry.out and "Nothing was written" in dry.out
    assert not Path("prices.yaml").exists()
    done = command("catalog", "prices", "--import", "list.json", "--as-of", "2026-11-02", "--json")
    assert done.json["written"] == "prices.yaml"
    asked = ("estimate", "gpt-next", "--method", "prompt", "--requests", "1000")
    answer = command(*asked, "--tokens-in", "500", "--tokens-out", "500", "--json").json
    assert answer["money"]["usd"]["mid"] == pytest.approx(1.0)
    assert answer["money"]["prices_as_of"] == "2026-11-02"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gpus", "--import", "list.json"), "prices alone"),
        (("prices", "--import", "none.json"), "none.json"),
        (("prices", "--import", "empty.json"), "no model"),
    ],
)
def test_a_list_that_cannot_be_taken_is_one_line(command, here, arguments, says) -> None:
    Path("empty.json").write_text("{}", encoding="utf-8")
    done = command("catalog", *arguments)
    assert done.code == 2 and says in done.err and len(done.err.strip().splitlines()) == 1
