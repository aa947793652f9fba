"""`advisor pilot` as a user types it, on a small part of the support sample."""

from pathlib import Path

import pytest
import yaml

from knowledge import SAMPLES

pytestmark = pytest.mark.slow


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The support profile on its first 200 messages, with no endpoint about."""
    for key in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    lines = (SAMPLES / "support" / "train.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "train.csv").write_text("\n".join(lines[:201]) + "\n", encoding="utf-8")
    answers = yaml.safe_load((SAMPLES / "profile_support.yaml").read_text(encoding="utf-8"))
    answers |= {"data": str(tmp_path / "train.csv")}
    answers.pop("test_data", None)
    file = tmp_path / "profile.yaml"
    file.write_text(yaml.safe_dump(answers), encoding="utf-8")
    return file


def test_a_pilot_measures_keeps_and_overrules(command, profile: Path, tmp_path: Path) -> None:
    out = tmp_path / "pilot"
    done = command("pilot", profile, "--out", out, "--minutes", 3, "--json", "-q")
    assert done.code == 0, done.err
    found = done.json
    head = found["tried"][0]
    assert head["stack"] == ["head-ft"]
    assert head["metrics"]["accuracy"]["value"] > 0.5
    assert any("no endpoint" in one["because"] for one in found["left_out"])
    assert {one["probe"] for one in found["findings"]} == {"learning-curve", "vocabulary"}
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    weights = Path(head["folder"]) / "model" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    again = command("pilot", profile, "--out", out, "--minutes", 3)
    assert again.code == 0 and weights.stat().st_mtime_ns == written
    assert "Best measured: head-ft" in again.out
    advice = command("recommend", profile, "--measured", found["measured"], "--json").json
    first = advice["options"][0]
    assert first["quality"]["mid"] == pytest.approx(head["metrics"]["accuracy"]["value"])


def test_a_pilot_without_anything_to_try_says_why(command, profile: Path, tmp_path: Path) -> None:
    done = command("pilot", profile, "--out", tmp_path / "pilot", "--minutes", 0.0001)
    assert done.code == 2
    assert "none of the options can be tried here" in done.err
    assert not list((tmp_path / "pilot").glob("trials/*"))
