"""What is measured on answers: a judge in both orders, programs in the sandbox; batch files."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking_runs import jsonl, loopback, outcomes, ran
from loopback import Loopback

from backends.base import Context, Data, Interrupted, Step
from backends.evaluate import sandbox
from backends.prompting import BACKEND
from backends.prompting.afterwards import verdict
from knowledge.errors import UserError

shut_in = pytest.mark.skipif(
    sandbox._missing() is not None, reason="no namespaces are allowed here"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    yield from loopback(monkeypatch)


@pytest.mark.parametrize(
    ("reply", "meant"),
    [
        ("A", "A"), ("**B**", "B"), ("tie", "tie"), ("Tie.", "tie"), ("Answer A", "A"),
        ("<think>B?</think>A", "A"), ("A is good, but better is B", "B"), ("neither", "tie"),
        ("", "tie"),
    ],
)  # fmt: skip
def test_verdicts(reply: str, meant: str) -> None:
    assert verdict(reply) == meant


def test_a_judge_is_asked_in_both_orders(server: Loopback, tmp_path: Path) -> None:
    def reply(asked: str) -> str:
        if not asked.startswith("You compare"):
            return "" if asked == "q 3" else f"answer to {asked}"
        first = asked.split("Answer A:\n")[1].split("\n")[0]
        if "q 0" in asked:
            return "A" if first.startswith("answer") else "B"  # likes the answer
        if "q 1" in asked:
            return "B" if first.startswith("answer") else "A"  # likes the accepted one
        return "A"  # likes what stands first

    server.reply = reply
    rows = [{"prompt": f"q {n}", "completion": f"accepted {n}"} for n in range(4)]
    data = Data(test=jsonl(tmp_path / "q.jsonl", rows))
    result = ran(
        tmp_path / "run", data, judge={"model": "judge"},
        usd_per_1m_input=100, usd_per_1m_output=400,
    )  # fmt: skip
    assert result.metrics["judge_preference"].value == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert result.metrics["judge_consistency"].value == pytest.approx(2 / 3)
    assert sum(body["model"] == "judge" for body in server.bodies) == 6
    assert result.usd == pytest.approx(server.usd)


@shut_in
def test_code_is_executed_when_it_is_asked_for(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda asked: (
        "```python\ndef f(x):\n    return x + 1\n```" if "one" in asked else "def f(x): return x"
    )
    rows = [
        {"prompt": "add one", "completion": "assert f(1) == 2"},
        {"prompt": "add two", "completion": "assert f(1) == 3"},
    ]
    data = Data(test=jsonl(tmp_path / "q.jsonl", rows))
    result = ran(tmp_path / "run", data, task="code", sandbox=True)
    metric = result.metrics["tests_passed"]
    assert (metric.value, metric.n) == (0.5, 2)
    assert "tests_passed" not in ran(tmp_path / "other", data, task="code").metrics
    with pytest.raises(UserError, match="sandbox is for the tasks code and sql"):
        ran(tmp_path / "x", data, sandbox=True)


@shut_in
def test_queries_are_executed_on_the_database(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda _: "SELECT name FROM t WHERE age > 1"
    with sqlite3.connect(tmp_path / "rows.sqlite") as db:
        db.execute("CREATE TABLE t (name TEXT, age INTEGER)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [("a", 3), ("b", 1), ("c", 2)])
    db.close()
    rows = [
        {"prompt": "older than one", "completion": "SELECT name FROM t WHERE age >= 2"},
        {"prompt": "all", "completion": "SELECT name FROM t"},
    ]
    data = Data(test=jsonl(tmp_path / "q.jsonl", rows))
    how: dict[str, Any] = {"task": "sql", "sandbox": True}
    result = ran(tmp_path / "run", data, database=str(tmp_path / "rows.sqlite"), **how)
    assert result.metrics["same_rows"].value == 0.5
    with pytest.raises(UserError, match="None is no sqlite file"):
        ran(tmp_path / "x", data, **how)


def answer_of(line: dict[str, Any]) -> dict[str, Any]:
    """A line of a batch API's output."""
    text = line["body"]["messages"][-1]["content"]
    body = {
        "choices": [{"message": {"content": f"said {text}"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }
    return {
        "id": "b", "custom_id": line["custom_id"], "error": None,
        "response": {"status_code": 200, "request_id": "r", "body": body},
    }  # fmt: skip


def test_a_batch_goes_out_and_comes_back_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    rows = [{"prompt": f"q {n % 5}", "completion": f"said q {n % 5}"} for n in range(6)]
    settings = {"batch": "file", "usd_per_1m_input": 100, "usd_per_1m_output": 400}
    data = Data(test=jsonl(tmp_path / "q.jsonl", rows))
    step = Step("ask", "prompt", model="m", data=data, settings=settings)
    BACKEND.check(step, Context(tmp_path))
    with pytest.raises(UserError, match=r"5 requests may cost .* and the budget has 0\.5 USD"):
        BACKEND.run(step, Context(tmp_path, budget_usd=0.5))
    with pytest.raises(Interrupted, match="5 requests are in"):
        BACKEND.run(step, Context(tmp_path, budget_usd=5.0))
    lines = [json.loads(line) for line in (tmp_path / "batch_input.jsonl").read_text().splitlines()]
    assert {line["url"] for line in lines} == {"/v1/chat/completions"}
    assert lines[0]["method"] == "POST" and lines[0]["body"]["max_tokens"] == 512
    assert len({line["custom_id"] for line in lines}) == 5
    back = [answer_of(line) for line in reversed(lines)]
    back[1]["response"] = {"status_code": 400, "body": {"error": {"message": "too long"}}}
    del back[2]
    (tmp_path / "batch_output.jsonl").write_text("\n".join(map(json.dumps, back)))
    with pytest.raises(Interrupted, match="1 requests are in"):
        BACKEND.run(step, Context(tmp_path, budget_usd=5.0, resume=True))
    (left,) = [
        json.loads(line) for line in (tmp_path / "batch_input.jsonl").read_text().splitlines()
    ]
    with (tmp_path / "batch_output.jsonl").open("a") as output:
        output.write("\n" + json.dumps(answer_of(left)))
    result = BACKEND.run(step, Context(tmp_path, budget_usd=5.0, resume=True))
    assert result.metrics["exact_match"].value == pytest.approx(5 / 6)
    assert result.counts["failed"] == 1
    assert any("too long" in line.get("failed", "") for line in outcomes(tmp_path))
    assert result.usd == pytest.approx(4 * (10 * 100 + 5 * 400) / 1e6)
    (tmp_path / "batch_output.jsonl").write_text("<html>")
    with pytest.raises(UserError, match=r"batch_output\.jsonl, line 1: no answer of a batch API"):
        BACKEND.run(step, Context(tmp_path, resume=True))
