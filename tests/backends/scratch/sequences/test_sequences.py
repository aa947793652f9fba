"""Tunes that parse and bars that add up; DNA; log lines."""

import pytest

from backends.scratch import sequences

HEAD = "X:1\nM:6/8\nK:G\n"


@pytest.mark.parametrize(
    "tune",
    [
        HEAD + '"G"g2g B^AB|d2d G3|"Em"GAB "Am"A2A|"D7"ABc "G"BAG|',
        HEAD + "d|g2g BAB|d2d G2:|",  # an upbeat, and the bar it is taken from
        HEAD + "GAB cde|1 f3 f2d:|2 f6||",
        HEAD + "z6|Z|".replace("|Z", ""),
        HEAD + "M:4/4\nc2d2 e2f2|(3cde f2 g4|c>d e<f gabc'|",
        HEAD + "[K:D]f3 [DFA]3|d/2e/2d/e/ f// f// f/ A3|",
        "X:1\nM:2/4\nL:1/8\nK:C\nc4|{de}c2 !trill!d2|",
        "X:1\nM:C\nK:C\nc8|",
    ],
)
def test_good_tunes(tune: str) -> None:
    assert sequences.fault("abc", tune) is None


@pytest.mark.parametrize(
    ("tune", "says"),
    [
        ("X:1\nM:6/8\nabc", "no key"),
        (HEAD, "no note"),
        (HEAD + "g2g BAB|d2d G2|GAB cde|fff fff|", "bar 2 is 5/8 long, not 3/4"),
        (HEAD + "g2g BABc|", "bar 1 is 7/8 long"),
        (HEAD + "g2g BAB|d2d ?3|", "is no ABC"),
        (HEAD + 'g2g BAB|"D', "is no ABC"),
        ("X:1\nM:6/0\nK:G\nabc", "no length"),
        (HEAD + "g2g BAB|c/0|", "a note of length"),
    ],
)
def test_bad_tunes(tune: str, says: str) -> None:
    found = sequences.fault("abc", tune)
    assert found is not None
    assert says in found


def test_dna() -> None:
    assert sequences.fault("dna", ">seq 1\nacgtTGCA\nNNRY") is None
    assert sequences.fault("dna", "acgx") == "'x' is no base"
    assert sequences.fault("dna", "\n") == "no bases"


def test_logs() -> None:
    good = "2026-01-02 03:04:05 ok\nJan  2 03:04:05 host x\n02/Jan/2026:03:04:05 GET"
    assert sequences.fault("log", good) is None
    assert sequences.fault("log", "2026-01-02 03:04:05 ok\nbroken") == "line 2 has no time"
    assert sequences.fault("log", "") == "no line"


def test_share_has_an_interval() -> None:
    found = sequences.share([None, None, "wrong", None])
    assert (found.value, found.n) == (0.75, 4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.75 < found.high
