"""Names are forgiven, ambiguity is asked about, and unknown names get the nearest ones."""

import pytest

from knowledge.errors import UserError, unknown
from knowledge.names import found, squeezed

CARDS = {"A100-SXM-80GB": ["a100-sxm"], "A100-PCIe-80GB": ["a100-pcie"], "RTX4090": ["4090"]}


@pytest.mark.parametrize("name", ["RTX4090", "rtx-4090", "rtx 4090", "RTX_4090", "4090"])
def test_case_and_dashes_are_forgiven(name: str) -> None:
    assert found("GPU", name, CARDS) == "RTX4090"


def test_ambiguity_lists_the_candidates() -> None:
    with pytest.raises(UserError, match="A100-PCIe-80GB, A100-SXM-80GB"):
        found("GPU", "a100", CARDS)


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'RTX4090'"):
        found("GPU", "rtx4091", CARDS)


def test_an_empty_name_is_said_to_be_empty() -> None:
    with pytest.raises(UserError, match="empty"):
        found("GPU", " - ", CARDS)


def test_few_known_names_are_listed_when_none_is_near() -> None:
    assert "known: red, green" in str(unknown("colour", "xyzzy", ["red", "green"]))


def test_dots_stay_apart_in_squeezed_names() -> None:
    assert squeezed("Llama-3.1-8B") == "llama3.18b" != squeezed("Llama-31-8B")
