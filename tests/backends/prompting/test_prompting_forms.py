"""Answers with a form: JSON under a schema, patterns, reasoning, the vote of several draws."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking_runs import jsonl, loopback, outcomes, ran
from loopback import Loopback

from backends.base import Data
from backends.prompting.prompts import ANSWER, Prompt
from backends.prompting.readings import check, reading
from knowledge.errors import UserError

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    yield from loopback(monkeypatch)


def made(**fields: Any) -> Prompt:
    return Prompt("m", ANSWER, 8, **fields)


@pytest.mark.parametrize(
    ("answer", "value", "fault"),
    [
        ('{"age": 3, "name": "a"}', '{"age":3,"name":"a"}', None),
        ('Here:\n```json\n{"name": "a", "age": 3}\n```\nDone.', '{"age":3,"name":"a"}', None),
        ('<think>{</think>{"name": "a", "age": 3}', '{"age":3,"name":"a"}', None),
        ('{"name": "a", "age": "3"}', None, "age: '3' is not of type 'integer'"),
        ('{"name": "a"}', None, "'age' is a required property"),
        ("no", None, "the answer is no JSON"),
        ("[" * 5000, None, "the answer is no JSON"),
        ("", None, "the answer is empty"),
    ],
)
def test_json_under_a_schema(answer: str, value: str | None, fault: str | None) -> None:
    read = reading(answer, made(schema=SCHEMA))
    assert read.value == value
    assert (read.fault is None) == (fault is None)
    assert (fault or "") in (read.fault or "")


def test_patterns_match_the_whole_answer_and_in_time() -> None:
    assert reading("AB-12", made(pattern=r"[A-Z]{2}-\d+")).value == "AB-12"
    assert "does not match" in (reading("AB-12.", made(pattern=r"[A-Z]{2}-\d+")).fault or "")
    slow = reading("a" * 60 + "b", made(pattern=r"(?:(a+)+\1)+$"))
    assert slow.value is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Two and two.\nAnswer: 4", "4"),
        ("Answer: 3, no.\n**Final answer:** 4", "4"),
        ("answer: yes", "yes"),
        ("It is 4", None),
    ],
)
def test_the_answer_after_reasoning(answer: str, value: str | None) -> None:
    assert reading(answer, made(reasoning=True)).value == value


def test_reasoned_labels_are_read_from_the_answer_alone() -> None:
    prompt = made(reasoning=True, labels=("card", "transfer"))
    assert reading("Not a card.\nAnswer: transfer", prompt).value == "transfer"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schema": {"type": "objekt"}}, "schema: 'objekt' is not valid"),
        ({"pattern": "(a"}, "pattern '\\(a'"),
        ({"pattern": "a", "labels": ("a", "b")}, "only one of labels and pattern"),
    ],
)
def test_broken_forms_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check(made(**fields))


def test_one_repair_round_with_the_error_and_what_fails_is_counted(
    server: Loopback, tmp_path: Path
) -> None:
    def reply(asked: str) -> str:
        if "cannot be used" in asked:
            assert "is not of type 'integer'" in asked
            return '{"name": "b", "age": 2}' if server.requests < 8 else "never"
        if "row 0" in asked:
            return '{"name": "a", "age": 1}'
        return '{"name": "b", "age": "2"}'

    server.reply = reply
    rows = [
        {"prompt": f"row {n}", "completion": json.dumps({"age": n + 1, "name": "ab"[n % 2]})}
        for n in range(6)
    ]
    data = Data(test=jsonl(tmp_path / "test.jsonl", rows))
    result = ran(
        tmp_path / "run", data, schema=SCHEMA, response_format="json_schema", concurrency=1
    )
    told = outcomes(tmp_path / "run")
    assert len(told) == 6 and [line["line"] for line in told] == [1, 2, 3, 4, 5, 6]
    failed = [line for line in told if line.get("failed")]
    assert result.counts["failed"] == len(failed) > 0
    assert all(line["answer"] == "never" for line in failed)
    assert result.counts["repaired"] == 6 - 1 - len(failed) > 0
    assert result.metrics["valid"].value == pytest.approx(1 - len(failed) / 6)
    assert result.metrics["exact_match"].value >= 2 / 6
    assert 0 < result.metrics["field_f1"].value < 1
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert json.dumps(SCHEMA["required"], separators=(",", ":")) in server.asked()[0]


def test_self_consistency_takes_the_commonest_answer(server: Loopback, tmp_path: Path) -> None:
    draws = iter(["think\nAnswer: 5", "Answer: 4", "hm\nAnswer: 4", "Answer: 4", "Answer: 7"])
    server.reply = lambda _: next(draws)
    data = Data(test=jsonl(tmp_path / "q.jsonl", [{"question": "2+2?", "answer": "4.0"}]))
    result = ran(tmp_path / "run", data, task="reason", reasoning=True, samples=5, temperature=0.8)
    (told,) = outcomes(tmp_path / "run")
    assert (told["value"], told["share"]) == ("4", 0.6)
    assert result.metrics["exact_match"].value == 1.0
    keys = {header["idempotency-key"] for header in server.headers}
    assert len(keys) == server.requests == 5


def test_completions_go_as_one_text(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda _: "said"
    data = Data(test=jsonl(tmp_path / "q.jsonl", [{"prompt": "once", "completion": "said"}]))
    result = ran(tmp_path / "run", data, face="completion", system="Speak.")
    assert server.bodies[0]["prompt"] == "Speak.\n\nonce"
    assert "messages" not in server.bodies[0]
    assert result.metrics["exact_match"].value == 1.0


def test_metrics_follow_the_task(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda _: "the cat sat on a mat"
    rows = [{"prompt": "p", "completion": "the cat sat on the mat"}]
    data = Data(test=jsonl(tmp_path / "q.jsonl", rows))
    summary = ran(tmp_path / "s", data, task="summarize").metrics
    assert summary["rougeL"].value == pytest.approx(5 / 6)
    assert summary["rouge2"].value == pytest.approx(3 / 5)
    chrf = ran(tmp_path / "t", data, task="translate").metrics["chrf"]
    assert 0.5 < chrf.value < 1 and chrf.n == 1
    assert {"latency_p50_s", "latency_p99_s"} <= set(summary)


def test_messages_are_kept_within_a_budget_of_tokens(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda _: "yes"
    train = [{"prompt": f"word {n} " * 20, "completion": "yes"} for n in range(8)]
    rows = [{"prompt": "short", "completion": "yes"}, {"prompt": "long " * 600, "completion": "no"}]
    data = Data(
        train=jsonl(tmp_path / "train.jsonl", train), test=jsonl(tmp_path / "test.jsonl", rows)
    )
    template = "{{ dropped }} left out {% for e in examples %}{{ e.text }}{% endfor %}{{ text }}"
    result = ran(
        tmp_path / "run", data, shots=8, choice="fixed", prompt_tokens=300, template=template
    )
    first, second = outcomes(tmp_path / "run")
    assert 0 < first["dropped"] < 8
    assert server.requests == 1 and server.asked()[0].startswith(f"{first['dropped']} left out")
    assert "about 1," in second["failed"] and "was not sent" in second["failed"]
    assert any("left out to keep messages short" in note for note in result.notes)
    with pytest.raises(UserError, match="line 1: the message takes about"):
        ran(tmp_path / "x", data, context_tokens=60, max_tokens=55)
