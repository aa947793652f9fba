"""Runs against a server on this machine that fails on demand."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loopback import USD_PER_1M_INPUT, USD_PER_1M_OUTPUT, Loopback, serving

from backends.base import Context, Data, Interrupted, Step, StepResult
from backends.prompting import BACKEND
from knowledge.errors import UserError

PRICES = {"usd_per_1m_input": USD_PER_1M_INPUT, "usd_per_1m_output": USD_PER_1M_OUTPUT}
LABELS = ("card", "transfer", "top_up")
SECRET = "sk-secret-of-the-test"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    with serving() as state:
        monkeypatch.setenv("OPENAI_BASE_URL", state.url)
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        yield state


def table(path: Path, count: int, prefix: str = "message") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f"{prefix} {n} about a thing", LABELS[n % 3]] for n in range(count))
    return path


def echo_label(asked: str) -> str:
    """The right label: `message <n>` has label n mod 3."""
    number = int(asked.rsplit("Text: message ", 1)[1].split()[0])
    return LABELS[number % 3]


def step_of(folder: Path, count: int = 30, **settings: Any) -> Step:
    return Step(
        name="ask",
        method="prompt",
        model="small",
        data=Data(
            train=str(table(folder / "train.csv", 30, "example")),
            test=str(table(folder / "test.csv", count)),
        ),
        settings={"backoff_s": 0.01, "concurrency": 4, "cache": False, **settings},
    )


def ran(step: Step, folder: Path, **how: Any) -> StepResult:
    folder.mkdir(exist_ok=True)
    context = Context(folder, **how)
    BACKEND.check(step, context)
    return BACKEND.run(step, context)


def outcomes(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_a_clean_run_is_scored_and_priced(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    result = ran(step_of(tmp_path, **PRICES), tmp_path / "run")
    assert result.metrics["accuracy"].value == 1.0
    assert result.metrics["macro_f1"].n == 30
    assert result.counts["requests"] == server.requests == 30
    assert result.usd == pytest.approx(server.usd)
    assert result.counts["failed"] == 0
    assert result.seconds > 0
    assert server.bodies[0]["max_tokens"] == len("transfer") + 16
    assert {"low", "high"} <= set(result.metrics["accuracy"].__struct_fields__)


def test_every_fault_is_outlived(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    server.faults = ["429", "500", "malformed", "cut", "slow", "html", None, "429", "500", "cut"]
    result = ran(step_of(tmp_path, timeout_s=0.4, **PRICES), tmp_path / "run")
    assert result.metrics["accuracy"].value == 1.0
    assert result.counts["requests"] == server.requests == 39
    assert result.usd is not None
    assert result.usd >= server.usd - 1e-12
    assert any("never came" in note for note in result.notes)


def test_retry_after_is_kept_by_all(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    server.faults = ["429"]
    ran(step_of(tmp_path, count=2, concurrency=1, backoff_s=0.0), tmp_path / "run")
    assert server.times[1] - server.times[0] >= 0.05
    assert server.requests == 3
    keys = Counter(header["idempotency-key"] for header in server.headers)
    assert sorted(keys.values()) == [1, 2]
    assert keys[server.headers[0]["idempotency-key"]] == 2


def test_concurrency_is_what_was_set(server: Loopback, tmp_path: Path) -> None:
    server.reply, server.delay = echo_label, 0.02
    ran(step_of(tmp_path, count=20, concurrency=3), tmp_path / "run")
    assert server.most_at_once == 3


@pytest.mark.parametrize("fault", [None, "cut", "malformed", "slow"])
def test_the_budget_is_never_exceeded(server: Loopback, tmp_path: Path, fault: str | None) -> None:
    server.reply = echo_label
    server.faults = [fault, None] * 8
    budget = 0.25
    step = step_of(tmp_path, count=60, timeout_s=0.3, **PRICES)
    with pytest.raises(Interrupted, match=r"the budget of 0\.25 USD is reached after"):
        ran(step, tmp_path / "run", budget_usd=budget)
    assert server.usd <= budget
    if fault is None:
        assert server.usd > 0.7 * budget
    sent = server.requests
    with pytest.raises(Interrupted):
        ran(step, tmp_path / "run", budget_usd=budget, resume=True)
    assert server.requests == sent


def test_a_run_within_its_budget_finishes(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    result = ran(step_of(tmp_path, count=5, **PRICES), tmp_path / "run", budget_usd=1.0)
    assert result.counts["items"] == 5
    assert result.usd is not None and result.usd <= 1.0


def test_resume_asks_only_what_is_missing(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    step = step_of(tmp_path, concurrency=1)
    stops = iter([False] * 11)
    with pytest.raises(Interrupted, match=r"\d+ items answered"):
        ran(step, tmp_path / "run", should_stop=lambda: next(stops, True))
    asked = server.requests
    assert 9 <= asked <= 11
    result = ran(step, tmp_path / "run", resume=True)
    assert server.requests == 30
    assert max(Counter(server.asked()).values()) == 1
    assert result.counts["from_journal"] == asked
    again = ran(step, tmp_path / "run", resume=True)
    assert server.requests == 30
    assert again.metrics == result.metrics
    assert again.seconds > result.seconds


def test_a_killed_run_is_resumed(server: Loopback, tmp_path: Path) -> None:
    server.reply, server.delay = echo_label, 0.02
    step = step_of(tmp_path, count=60, **PRICES)
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "step.json").write_bytes(msgspec.json.encode(step))
    program = (
        "import sys, msgspec; from pathlib import Path; from backends.base import Context, Step; "
        "from backends.prompting import BACKEND; "
        "step = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Step); "
        "BACKEND.run(step, Context(Path(sys.argv[2])))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "step.json"), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    while server.answered < 20 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.1)
    result = ran(step, folder, resume=True)
    twice = sum(count - 1 for count in Counter(server.asked()).values())
    assert set(Counter(server.asked()).values()) <= {1, 2}
    assert twice <= result.counts["resent"] <= 4
    assert all(header["idempotency-key"] for header in server.headers)
    keys = Counter(header["idempotency-key"] for header in server.headers)
    assert len(keys) == 60 and sum(keys.values()) == server.requests
    assert any("same idempotency keys" in note for note in result.notes)
    assert result.counts["items"] == 60 and result.counts["failed"] == 0
    assert result.usd is not None and result.usd >= server.usd - 1e-12


def test_equal_texts_are_asked_once(server: Loopback, tmp_path: Path) -> None:
    server.delay = 0.02
    step = step_of(tmp_path)
    Path(str(step.data.test)).write_text("text,label\n" + "same words,card\n" * 6)
    result = ran(step, tmp_path / "run")
    assert server.requests == 1
    assert result.counts["items"] == 6 and result.counts["from_journal"] == 5


def test_one_round_of_repair(server: Loopback, tmp_path: Path) -> None:
    def reply(asked: str) -> str:
        if "not one of the labels" in asked:
            return "card"
        return (
            "I think: pigeon" if "message 0 " in asked else "dog" if "message 1 " in asked else "x"
        )

    server.reply = reply
    result = ran(step_of(tmp_path, count=3), tmp_path / "run")
    assert result.counts["repaired"] == 3
    assert server.requests == 6
    assert result.metrics["accuracy"].value == pytest.approx(1 / 3)
    server.reply = lambda _: "pigeon"
    failed = ran(step_of(tmp_path, count=3), tmp_path / "other")
    assert failed.counts["failed"] == 3
    assert outcomes(tmp_path / "other")[0]["answer"] == "pigeon"
    assert any("3 items count as wrong: the answer is outside" in note for note in failed.notes)
    once = ran(step_of(tmp_path, count=3, repair=False), tmp_path / "third")
    assert once.counts["requests"] == 3


def test_a_wrong_key_is_said_at_once_and_never_shown(server: Loopback, tmp_path: Path) -> None:
    server.key = "another"
    with pytest.raises(UserError, match=r"refuses the key \(401: .*check OPENAI_API_KEY") as caught:
        ran(step_of(tmp_path), tmp_path / "run")
    assert SECRET not in str(caught.value)
    assert "***" in str(caught.value)
    assert server.requests <= 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "knows no model 'small'"),
        ("quota", "the account has nothing left"),
        ("429-long", "asks to wait 86,400 s"),
        ("400", "the context is too long"),
        ("500", "answered none of the last 5 requests"),
    ],
)
def test_hopeless_endpoints_are_given_up_in_one_line(
    server: Loopback, tmp_path: Path, fault: str, said: str
) -> None:
    server.always = fault
    with pytest.raises(UserError, match=said) as caught:
        ran(step_of(tmp_path, count=200, retries=1), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert server.requests < 40


def test_single_declined_items_are_counted(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    server.faults = [None, "400", None, "400"]
    result = ran(step_of(tmp_path, count=12, concurrency=1), tmp_path / "run")
    assert (result.counts["items"], result.counts["failed"]) == (12, 2)
    assert result.metrics["accuracy"].value == pytest.approx(10 / 12)


def test_newer_parameter_names_are_learned(server: Loopback, tmp_path: Path) -> None:
    server.reply, server.always = echo_label, "max_tokens"
    result = ran(step_of(tmp_path), tmp_path / "run")
    assert result.counts["failed"] == 0
    assert "max_completion_tokens" in server.bodies[-1]
    assert "max_tokens" not in server.bodies[-1]


def test_without_usage_the_worst_case_is_booked(server: Loopback, tmp_path: Path) -> None:
    server.reply, server.always = echo_label, "no-usage"
    result = ran(step_of(tmp_path, count=3, **PRICES), tmp_path / "run", budget_usd=1.0)
    assert result.usd is not None and result.usd > server.usd
    assert any("without usage" in note for note in result.notes)


def test_the_price_is_unknown_not_zero(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    assert ran(step_of(tmp_path, count=3), tmp_path / "run").usd is None
    with pytest.raises(UserError, match="cannot be kept without prices"):
        ran(step_of(tmp_path, count=3), tmp_path / "other", budget_usd=1.0)
    free = step_of(tmp_path, count=3, usd_per_1m_input=0, usd_per_1m_output=0)
    assert ran(free, tmp_path / "third", budget_usd=0.0).usd == 0.0
    with pytest.raises(UserError, match="too small for one call"):
        ran(step_of(tmp_path, count=3, **PRICES), tmp_path / "last", budget_usd=0.0001)


def test_no_file_of_a_run_holds_the_key(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "OPENAI_BASE_URL", server.url.replace("http://", "http://someone:hidden-word@")
    )
    server.reply = echo_label
    server.faults = ["500", "cut", "429"]
    result = ran(step_of(tmp_path, **PRICES), tmp_path / "run", budget_usd=10.0)
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.name for path in written} == {
        "answers.sqlite",
        "predictions.jsonl",
        "labelled.jsonl",
        "metrics.jsonl",
        "prompt.json",
        "template.jinja",
    }
    everything = b"".join(path.read_bytes() for path in written) + repr(result).encode()
    assert SECRET.encode() not in everything
    assert b"hidden-word" not in everything
    assert "asked 127.0.0.1" in result.notes


def test_few_shots_come_from_the_training_data(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    ran(step_of(tmp_path, count=2, shots=6), tmp_path / "run")
    shown = server.asked()[0].rsplit("Text: message", 1)[0]
    assert Counter(line for line in shown.splitlines() if line.startswith("Label:")) == {
        f"Label: {label}": 2 for label in LABELS
    }
    first, second = server.asked()
    assert shown == second.rsplit("Text: message", 1)[0]
    assert len(shown) > 0.8 * len(first)


def test_predict_and_evaluate_use_the_saved_prompt(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    step = step_of(tmp_path, count=4)
    ran(step, tmp_path / "run")
    said = list(BACKEND.predict(tmp_path / "run", iter(["message 1 b", "message 3 a"])))
    assert [(one.text, one.label) for one in said] == [
        ("message 1 b", "transfer"),
        ("message 3 a", "card"),
    ]
    metrics = BACKEND.evaluate(tmp_path / "run", Data(test=step.data.test))
    assert metrics["accuracy"].value == 1.0
    other = tmp_path / "other.csv"
    other.write_text("text,label\nmessage 1 x,pigeon\n")
    with pytest.raises(UserError, match="'pigeon'"):
        BACKEND.evaluate(tmp_path / "run", Data(test=str(other)))
    with pytest.raises(UserError, match="no usable prompt"):
        list(BACKEND.predict(tmp_path / "nowhere", ["x"]))


def test_completions_and_conversations_are_scored(server: Loopback, tmp_path: Path) -> None:
    server.reply = lambda asked: "<think>hm</think> The Moon." if "1972" in asked else "no idea"
    rows = [
        {"question": "where were they in 1972", "answer": ["the moon", "space"]},
        {"question": "where now", "answer": ["earth"]},
    ]
    path = tmp_path / "qa.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    step = Step("ask", "prompt", model="small", data=Data(test=str(path)))
    result = ran(step, tmp_path / "run")
    assert result.metrics["exact_match"].value == 0.5
    assert result.metrics["token_f1"].value == 0.5
    turns = [("system", "be brief"), ("user", "hi"), ("assistant", "yes?"), ("user", "in 1972?")]
    messages = [{"role": role, "content": text} for role, text in (*turns, ("assistant", "moon"))]
    path.write_text(json.dumps({"messages": messages}))
    result = ran(step, tmp_path / "chat")
    assert server.bodies[-1]["messages"] == messages[:4]
    assert result.metrics["exact_match"].value == 1.0


def test_a_rerun_in_another_folder_costs_nothing(
    server: Loopback, tmp_path: Path, own_cache: Path
) -> None:
    server.reply = echo_label
    step = step_of(tmp_path, cache=True, **PRICES)
    first = ran(step, tmp_path / "run")
    second = ran(step, tmp_path / "again")
    assert server.requests == 30
    assert second.usd == 0.0 and (first.usd or 0) > 0
    assert second.counts["from_cache"] == 30
    assert second.metrics["accuracy"] == first.metrics["accuracy"]
    assert SECRET.encode() not in own_cache.read_bytes()
    assert own_cache.stat().st_mode & 0o077 == 0
    with serving() as other:  # another server may answer otherwise
        os.environ["OPENAI_BASE_URL"] = other.url
        ran(step, tmp_path / "third")
        assert other.requests == 30


def test_no_more_requests_a_minute_than_allowed(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    ran(step_of(tmp_path, count=12, requests_per_minute=600, concurrency=12), tmp_path / "run")
    waits = [later - sooner for sooner, later in zip(server.times, server.times[10:], strict=False)]
    assert server.times[-1] - server.times[0] > 0.15
    assert min(waits) > 0.05


def test_a_hedge_brings_the_faster_answer_and_books_both(server: Loopback, tmp_path: Path) -> None:
    server.reply = echo_label
    server.faults = ["slow"]
    step = step_of(tmp_path, count=4, hedge_after_s=0.2, concurrency=2, **PRICES)
    result = ran(step, tmp_path / "run")
    assert result.counts["failed"] == 0
    assert server.requests == result.counts["requests"] == 5
    assert result.usd is not None and result.usd >= server.usd - 1e-12


def test_one_refusal_holds_back_one_request_only(server: Loopback, tmp_path: Path) -> None:
    server.reply, server.delay = echo_label, 0.01
    server.faults = [None] * 10 + ["429-slow"]
    begun = time.monotonic()
    ran(step_of(tmp_path, count=30, concurrency=2), tmp_path / "run")
    assert time.monotonic() - begun >= 0.5
    during = sum(0.05 < at - server.times[10] < 0.45 for at in server.times)
    assert during >= 3


def test_a_full_disk_is_one_line(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply = echo_label
    connect = sqlite3.connect

    def small(*arguments: Any, **how: Any) -> sqlite3.Connection:
        made = connect(*arguments, **how)
        made.execute("PRAGMA max_page_count = 12")
        return made

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(UserError, match=r"cannot keep answers .* full"):
        ran(step_of(tmp_path, count=300), tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    before = server.answered
    result = ran(step_of(tmp_path, count=300), tmp_path / "run", resume=True)
    assert result.counts["items"] == 300
    assert server.answered - before <= 300 - result.counts["from_journal"]
    assert result.counts["from_journal"] > 0
