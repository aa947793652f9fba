"""Labels out of answers, templates in the sandbox, money, and what `check` refuses."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Context, Data, Step
from backends.data import Message
from backends.prompting import BACKEND, Settings
from backends.prompting.address import address
from backends.prompting.endpoint import retry_after
from backends.prompting.examples import selector
from backends.prompting.exchange import Request, Usage
from backends.prompting.items import task
from backends.prompting.labels import label_said
from backends.prompting.money import BudgetReached, Ledger, Prices, most_tokens
from backends.prompting.pace import Bucket
from backends.prompting.prompts import CLASSIFY, Example, Prompt
from knowledge.errors import UserError

LABELS = ("top_up", "top_up_failed", "Lost card", "card")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("top_up", "top_up"),
        ("Top up.", "top_up"),
        ('"top_up_failed"', "top_up_failed"),
        ("Label: lost card\n", "Lost card"),
        ("**top up failed**", "top_up_failed"),
        ("It is top_up_failed, I think", "top_up_failed"),
        ("<think>card? or top_up?</think>card", "card"),
        ("card or top_up", None),
        ("pigeon", None),
        ("discard", None),
        ("", None),
        ("<think>card", None),
    ],
)
def test_the_label_that_an_answer_means(answer: str, label: str | None) -> None:
    assert label_said(answer, LABELS) == label


def prompt(template: str = CLASSIFY, **fields: Any) -> Prompt:
    return Prompt("m", template, 8, "Sort it.", labels=("a", "b"), **fields)


def test_the_usual_template_reads_as_written() -> None:
    made = prompt(definitions={"a": "the first"}, examples=(Example("x {{ y }}", "b"),))
    (message,) = made.messages("{% raw %} <b>&")
    assert message.content == (
        "Sort it.\n\nLabels:\n- a: the first\n- b\n\nText: x {{ y }}\nLabel: b\n\n"
        "Text: {% raw %} <b>&\nLabel:"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ txt }}", "'txt' is undefined; known: text, instruction"),
        ("{% for x in labels %}", "broken at line 1"),
        ("{{ text.__class__.__mro__ }}", "cannot be filled|undefined"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "unsafe|undefined"),
        ("{{ labels.append('x') }}", "template"),
        ("{% include '/etc/passwd' %}", "template"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ range(1000000000) | list }}", "template"),
    ],
)
def test_bad_templates_are_refused_in_one_line(template: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        prompt(template).messages("x")
    assert "\n" not in str(caught.value)


def test_prices() -> None:
    prices = Prices(2.0, 8.0, 1.0)
    assert prices.usd(Usage(1_000_000, 1_000_000)) == 10.0
    assert prices.usd(Usage(1_000_000, 0, cached=1_000_000)) == 1.0
    assert Prices(2.0, None).usd(Usage(1, 1)) is None
    assert Prices(2.0, 8.0).usd(Usage(1_000_000, 0, cached=1_000_000)) == 2.0


@given(st.text(), st.text())
def test_no_tokenizer_of_bytes_makes_more_tokens_than_the_bound(one: str, other: str) -> None:
    request = Request("m", (Message("system", one), Message("user", other)), 5)
    assert most_tokens(request) >= len(one.encode()) + len(other.encode())


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=20), st.floats(0, 3))
def test_a_ledger_never_spends_more_than_its_limit(
    calls: list[tuple[float, float]], limit: float
) -> None:
    async def spend() -> float:
        ledger = Ledger(limit)
        for worst, part in calls:
            try:
                ticket = await ledger.reserve(worst)
            except BudgetReached:
                assert ledger.spent + worst > limit
            else:
                ledger.settle(ticket, worst * part)
        return ledger.spent

    assert asyncio.run(spend()) <= limit


def test_a_call_waits_for_money_that_another_may_free() -> None:
    async def two() -> list[str]:
        ledger, order = Ledger(1.0), []
        first = await ledger.reserve(0.8)

        async def second() -> None:
            ticket = await ledger.reserve(0.7)
            order.append("sent")
            ledger.settle(ticket, 0.7)

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        order.append("settled")
        ledger.settle(first, 0.2)
        await waiting
        return order

    assert asyncio.run(two()) == ["settled", "sent"]


@given(st.integers(1, 1000), st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60))
def test_no_minute_takes_more_than_the_limit(limit: int, shares: list[float]) -> None:
    bucket, now, taken = Bucket(limit, 0.0), 0.0, []
    for part in shares:
        need = max(1.0, part * limit) if limit >= 2 else 1.0
        while (wait := bucket.wait(need, now)) > 0:
            now += wait
        bucket.take(need)
        taken.append((now, need))
    for start, _ in taken:
        inside = sum(need for at, need in taken if start <= at < start + 59.999)
        assert inside <= limit + 1.001


def test_tokens_that_were_not_used_may_be_taken_again() -> None:
    bucket = Bucket(600, 0.0)
    bucket.take(10)
    assert bucket.wait(10, 0.0) > 0.9
    bucket.give_back(10)
    assert bucket.wait(10, 0.0) == 0


def test_retry_after_in_its_three_forms() -> None:
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after-ms": "1500"}) == 1.5
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert (retry_after({"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"}) or 0) > 1e9
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return monkeypatch


def test_a_missing_endpoint_is_named(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"set OPENAI_BASE_URL .* or OPENAI_API_KEY"):
        address()
    environment.setenv("OPENAI_BASE_URL", "https://models.example.org/v1")
    with pytest.raises(UserError, match=r"no OPENAI_API_KEY is set for models\.example\.org"):
        address()
    for local in ("http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:1/v1"):
        environment.setenv("OPENAI_BASE_URL", local)
        assert address().local
    environment.setenv("OPENAI_BASE_URL", "ftp://user:word@host")
    with pytest.raises(UserError, match=r"no http\(s\) URL") as caught:
        address()
    assert "word" not in str(caught.value)
    environment.delenv("OPENAI_BASE_URL")
    environment.setenv("OPENAI_API_KEY", "sk-x")
    assert address().host == "api.openai.com"
    assert "sk-x" not in repr(address())


@pytest.fixture
def files(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    environment.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    rows = "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "test.csv").write_text("text,label\nhello,a\nbye,b\n")
    (tmp_path / "one.csv").write_text("text,label\nhello,a\n")
    (tmp_path / "strange.csv").write_text("text,label\nhello,c\n")
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}')
    return tmp_path


def refused(folder: Path, data: dict[str, str], model: str | None = "m", **settings: Any) -> str:
    paths = {name: str(folder / file) for name, file in data.items()}
    step = Step("ask", "prompt", model=model, data=Data(**paths), settings=settings)
    with pytest.raises(UserError) as caught:
        BACKEND.check(step, Context(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_check_refuses_what_cannot_run(files: Path) -> None:
    both = {"train": "train.csv", "test": "test.csv"}
    assert "names no model" in refused(files, both, None)
    assert "no data to ask about" in refused(files, {})
    assert "one label only" in refused(files, {"test": "one.csv"})
    assert "'c' for one" in refused(files, {**both, "test": "strange.csv"})
    assert "'z' is no label" in refused(files, both, definitions={"z": "?"})
    assert "did you mean 'temperature'" in refused(files, both, temprature=0.1)
    assert "shots" in refused(files, both, shots=-1)
    assert "need examples" in refused(files, {"test": "test.csv"}, shots=2)
    assert "preference cannot be asked" in refused(files, {"test": "pairs.jsonl"})
    assert "'nothing' is undefined" in refused(files, both, template="{{ nothing }}")


def test_check_passes_and_sends_nothing(files: Path) -> None:
    data = Data(train=str(files / "train.csv"), test=str(files / "test.csv"))
    BACKEND.check(Step("ask", "prompt", model="m", data=data), Context(files))


def test_without_test_data_a_part_of_the_training_data_is_asked(files: Path) -> None:
    data = Data(train=str(files / "train.csv"))
    made = task(data, Settings(shots=4), seed=1)
    assert len(made.items) == 8
    assert not {item.text for item in made.items} & {shown.text for shown in made.pool}
    assert "20%" in made.notes[0]
    assert list(task(data, Settings(shots=4), seed=1).items) == list(made.items)
    assert list(task(data, Settings(shots=4), seed=2).items) != list(made.items)


def test_examples_are_balanced_or_not(files: Path) -> None:
    rows = "".join(f"rare {n},b\n" if n < 2 else f"text {n},a\n" for n in range(60))
    (files / "skewed.csv").write_text(f"text,label\n{rows}")
    data = Data(train=str(files / "skewed.csv"), test=str(files / "test.csv"))
    pool = task(data, Settings(shots=4), seed=1).pool
    (balanced,) = selector("balanced", pool, 4, 1, "", True).chosen(["x"])
    assert sorted(shown.target for shown in balanced) == ["a", "a", "b", "b"]
    (fixed,) = selector("fixed", pool, 4, 1, "", True).chosen(["x"])
    assert len(fixed) == 4


def test_a_limit_draws_from_the_whole_file(files: Path) -> None:
    rows = "".join(f"text {n},{'a' if n < 100 else 'b'}\n" for n in range(200))
    (files / "sorted.csv").write_text(f"text,label\n{rows}")
    made = task(Data(test=str(files / "sorted.csv")), Settings(limit=60), seed=1)
    assert len(made.items) == 60
    assert 15 < sum(item.accepted == ("a",) for item in made.items) < 45
    assert [item.line for item in made.items] == sorted(item.line for item in made.items)
    assert made.notes == ("60 of 200 test items are asked, drawn by the seed",)


def test_the_face_is_light() -> None:
    program = (
        "import sys, backends.prompting, backends.data\n"
        "heavy = {'openai', 'numpy', 'jinja2', 'pyarrow', 'pydantic', 'httpx2', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert seen.stdout.strip() == "[]"
