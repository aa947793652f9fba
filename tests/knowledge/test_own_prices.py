"""The user's own prices go before the packaged ones; what cannot be a price is refused."""

import datetime as dt
import json
from pathlib import Path

import pytest

from knowledge import own_prices, price_lists, prices
from knowledge.errors import UserError
from knowledge.quantities import exactly

DAY = dt.date(2026, 11, 19)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes prices.yaml where it is looked for."""
    monkeypatch.setenv(own_prices.VARIABLE, str(tmp_path / "prices.yaml"))

    def write(text: str) -> Path:
        path = tmp_path / "prices.yaml"
        path.write_text(text, encoding="utf-8")
        prices.reload()
        return path

    yield write
    monkeypatch.undo()
    prices.reload()


def test_a_price_of_ones_own_stands_for_all_clouds(own) -> None:
    own("date: 2026-11-20\ngpus:\n  h100-sxm: {on_demand: 2.1, spot: 1.2}\n")
    assert prices.rent("H100-SXM-80GB") == exactly(2.1)
    assert prices.spot("H100-SXM-80GB") == exactly(1.2)
    assert prices.rent("A100-SXM-80GB") != exactly(2.1)


def test_a_cloud_s_price_takes_the_place_of_that_cloud_s(own) -> None:
    own("date: 2026-11-20\n")
    clouds = {row.cloud for row in prices.gpu_table().values() if row.gpu == "L4"}
    cloud = sorted(clouds)[0]
    own(f"date: 2026-11-20\ngpus:\n  L4: [{{cloud: {cloud.lower()}, on_demand: 9.5}}]\n")
    mine = [row for row in prices.gpu_table().values() if row.gpu == "L4"]
    assert [row.on_demand for row in mine if row.cloud.lower() == cloud.lower()] == [9.5]
    assert {row.cloud.lower() for row in mine} == {name.lower() for name in clouds}


def test_an_api_s_row_takes_the_place_of_the_packaged_one(own) -> None:
    own("date: 2026-11-20\napis:\n  gpt-5-mini: {input: 1, output: 3}\n")
    row = prices.find_api("gpt-5-mini")
    assert row.usd(1_000_000, 1_000_000) == pytest.approx(4.0)
    assert row.date == dt.date(2026, 11, 20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gpus: {L4: 0}", "on_demand is 0.*above 0"),
        ("gpus: {L4: 700.0}", "700.*below 30"),
        ("apis: {x: {input: 700.0}}", "700.*below 700"),
        ("apis: {x: {input: -1}}", "-1"),
        ("apis: {x: {input: '2 EUR'}}", "2 EUR"),
        ("apis: {x: {input: 0, output: 0}}", "no price above 0"),
        ("currency: EUR", "EUR.*convert"),
        ("gpus: {h10: 1}", "h10"),
        ("gpu: {}", "did you mean 'gpus'"),
        ("apis: {x: {inptu: 1}}", "did you mean 'input'"),
        ("gpus: [1]", "names with their prices"),
        ("[1]", "holds no keys"),
    ],
)
def test_what_is_no_price_is_refused_in_one_line(own, text: str, says: str) -> None:
    own(text if text == "[1]" else f"{text}\ndate: 2026-11-01")
    with pytest.raises(UserError, match=says) as caught:
        prices.gpu_table()
    assert "\n" not in str(caught.value)


def test_a_price_without_a_date_is_refused(own) -> None:
    own("gpus: {L4: 1.0}")
    with pytest.raises(UserError, match="no date"):
        prices.gpu_table()


def test_a_named_file_that_is_not_there_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(own_prices.VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match="no file"):
        own_prices.read()


LITELLM = {
    "sample_spec": {"mode": "chat", "input_cost_per_token": 0.0},
    "gpt-5-mini": {"input_cost_per_token": 3e-7, "output_cost_per_token": 2e-6, "mode": "chat"},
    "gpt-next": {
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 1e-5,
        "input_cost_per_token_above_200k_tokens": 4e-6,
        "output_cost_per_token_above_200k_tokens": 1.5e-5,
        "cache_read_input_token_cost": 2e-7,
        "mode": "chat",
    },
    "gpt-5.6": {"input_cost_per_token": 5e-4, "output_cost_per_token": 3e-5, "mode": "chat"},
    "sentinel": {"input_cost_per_token": 7e-4, "output_cost_per_token": 7e-4, "mode": "chat"},
    "free": {"input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "chat"},
    "odd": {"input_cost_per_token": 1e-6, "cache_read_input_token_cost": 2e-6, "mode": "chat"},
    "picture": {"mode": "image_generation"},
}


def test_a_litellm_list_is_checked_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(LITELLM), encoding="utf-8")
    outcome = price_lists.read(path, DAY)
    fates = {change.id: (change.fate, change.why) for change in outcome.changes}
    assert set(outcome.own.apis) == {"gpt-5-mini", "gpt-next"}
    assert fates["gpt-5-mini"][0] == "changed" and fates["gpt-next"][0] == "new"
    assert "times off" in fates["gpt-5.6"][1]
    assert "outside" in fates["sentinel"][1]
    assert "no price" in fates["free"][1]
    assert "cached" in fates["odd"][1]
    assert "picture" not in fates and "sample_spec" not in fates
    long = outcome.own.apis["gpt-next"]
    assert (long.input, long.long_above, long.long_input) == (2.0, 200_000, 4.0)


def test_what_is_written_is_read_again_and_keeps_what_was_there(own, tmp_path: Path) -> None:
    own("date: 2026-11-20\ngpus: {L4: 0.5}\napis: {mine: {input: 1, output: 2}}\n")
    path = tmp_path / "list.json"
    path.write_text(json.dumps(LITELLM), encoding="utf-8")
    outcome = price_lists.read(path, DAY)
    own(own_prices.written(price_lists.merged(own_prices.read(), outcome.own)))
    assert prices.rent("L4") == exactly(0.5)
    assert prices.find_api("mine").input == 1
    assert prices.find_api("gpt-next").usd(300_000, 0) == pytest.approx(1.2)


SKY = """InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region
big,A100-80GB,8,16.0,8.0,here
big,A100-80GB,8,24.0,,there
small,L4,1,700.0,,here
none,,,0.2,,here
odd,NoSuchCard,1,1.0,,here
"""


def test_a_skypilot_list_is_per_gpu_and_in_the_middle_of_its_regions(tmp_path: Path) -> None:
    path = tmp_path / "somecloud.csv"
    path.write_text(SKY, encoding="utf-8")
    outcome = price_lists.read(path, DAY)
    ((card, offers),) = outcome.own.gpus.items()
    assert card.startswith("A100")
    assert (offers[0].cloud, offers[0].on_demand, offers[0].spot) == ("somecloud", 2.5, 1.0)
    refused = {change.id: change.why for change in outcome.changes if change.fate == "refused"}
    assert "outside" in refused["L4"] and "no such GPU" in refused["NoSuchCard"]


@pytest.mark.parametrize("text", ["{}", "a,b\n1,2\n", "{not json", ""])
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        price_lists.read(path, DAY)
