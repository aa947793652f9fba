"""Golden profiles: each a file, the first choice, and the rules that speak for it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from advisor.profile import read
from advisor.recommendation import recommend
from knowledge import cases

FOLDER = Path(__file__).parent
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load(
    (FOLDER / "expected.yaml").read_text(encoding="utf-8")
)


def test_every_profile_has_an_expectation_and_none_is_a_past_decision() -> None:
    names = {file.stem for file in (FOLDER / "profiles").glob("*.yaml")}
    assert names == set(EXPECTED)
    assert len(names) >= 20
    assert not names & set(cases.table())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_first_choice_and_its_reasons_stay(name: str) -> None:
    advice = recommend(read(FOLDER / "profiles" / f"{name}.yaml"), top=1)
    expected = EXPECTED[name]
    assert advice.verdict == expected["verdict"]
    assert list(advice.stack) == expected["stack"]
    assert advice.delivery == expected["delivery"]
    assert advice.options[0].model == expected["model"]
    assert {reason.rule for reason in advice.options[0].reasons} >= set(expected["reasons"])
