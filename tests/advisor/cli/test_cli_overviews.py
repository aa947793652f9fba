"""`advisor estimate --grid` and `--against`: one page, readable at 80 columns, complete as JSON."""

import pytest

PROMPT = ("estimate", "gpt-5-mini", "--method", "prompt", "--tokens-in", "500", "--months", "12")
OWN = "llama-3.1-8b --method lora --gpu L40S --examples 2000"


@pytest.mark.parametrize("columns", ["80", "140"])
def test_pages_fit_the_terminal(command, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    grid = command("estimate", "--grid").out
    even = command(*PROMPT, "--against", OWN).out
    for page in (grid, even):
        assert max(len(line) for line in page.splitlines()) <= int(columns)
    assert "from scratch" in grid and "qlora" in grid and "Assumed" in grid
    assert len(grid.splitlines()) < 70
    assert "break-even at" in even and "below: prompt gpt-5-mini" in even
    assert even.count("aaa") > 1 and "bbb" in even


def test_the_break_even_is_where_both_cost_the_same(command) -> None:
    answer = command(*PROMPT, "--against", OWN, "--json").json
    ((found),) = answer["break_even"]
    volume = str(round(found["requests"]))
    money = command(*PROMPT, "--tokens-out", "150", "--requests", volume, "--json").json["money"]
    words = OWN.split()
    asked = (*words, "--tokens-in", "500", "--months", "12", "--requests", volume, "--json")
    other = command("estimate", *asked).json["money"]
    assert money["usd"]["mid"] == pytest.approx(other["usd"]["mid"], rel=0.01)
    assert found["cheaper_below"] != found["cheaper_above"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("estimate", "gpt2", "--grid"),
        ("estimate", "--grid", "--gpu", "h10"),
        (*PROMPT, "--against", "--method lora"),
        (*PROMPT, "--against", "no-such-model --gpu L4"),
        (*PROMPT, "--against", "llama-3.1-8b --gp L4"),
        (*PROMPT, "--against", "llama-3.1-70b --gpu L4"),
        (*PROMPT, "--against", "'unbalanced"),
    ],
)
def test_bad_input_is_one_line(command, arguments) -> None:
    done = command(*arguments)
    assert done.code == 2 and done.err.startswith("error: ")
    assert len(done.err.strip().splitlines()) == 1
