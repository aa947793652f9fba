"""Lines on a terminal: none too wide, no word lost, styles only where they are wanted."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.report.layout import cells, clipped, narrowed, table, wrapped
from advisor.report.terminal import Screen, show
from advisor.report.view import Curve, Plot, Table, Text, View

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Zs", "Zl", "Zp"]))
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
WIDTHS = st.integers(min_value=2, max_value=120)


def letters(text: str) -> str:
    return "".join(c for c in text if c.isprintable() and not c.isspace())


@given(TEXTS, WIDTHS)
def test_wrapping_loses_no_letter_and_no_line_is_too_wide(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert letters("".join(lines)) == letters(text)
    assert max(map(cells, lines)) <= width
    assert all(line.isprintable() for line in lines)


@given(st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=20))
def test_words_that_fit_stay_whole(words: list[str]) -> None:
    assert " ".join(wrapped(" ".join(words), 12)).split() == words


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5), st.integers(12, 120))
def test_a_table_fits_and_keeps_its_text(rows: list[tuple[str, str, str]], width: int) -> None:
    section = Table("t", ("one", "two", "three"), tuple(rows))
    lines = ["".join(piece.text for piece in row) for row in table(section, width)]
    assert max(map(cells, lines)) <= width
    kept = sorted(letters("".join(lines)))
    assert kept == sorted(letters("onetwothree" + "".join("".join(row) for row in rows)))


def test_the_widest_column_gives_way_first() -> None:
    assert narrowed([5, 40, 10], [5, 10, 5], 40) == [5, 25, 10]
    assert narrowed([5, 40, 10], [5, 10, 5], 20) == [5, 10, 5]
    assert sum(narrowed([5, 40, 10], [5, 10, 5], 12)) == 12


def test_wide_characters_take_two_cells_and_escapes_none() -> None:
    assert cells("資料") == 4 and cells("e\N{COMBINING ACUTE ACCENT}") == 1
    assert wrapped("資料 資料", 5) == ["資料", "資料"]
    assert wrapped("a\x1b[31mred\x07", 20) == ["a[31mred"]
    assert clipped("abcdef", 4) == "abc…" and clipped("資料資料", 4) == "資…"


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "styled"),
    [
        (Terminal, {}, True),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
        (io.StringIO, {}, False),
        (io.StringIO, {"FORCE_COLOR": "1"}, True),
    ],
)
def test_styles_only_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], environment: dict[str, str],
    styled: bool,
) -> None:  # fmt: skip
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    curves = (Curve("a", ((1.0, 1.0), (9.0, 5.0))), Curve("b", ((1.0, 5.0), (9.0, 1.0))))
    show(View("t", ("answer",), (Plot("p", "x", "y", curves), Text("none", ())), ("foot",)))
    assert ("\x1b[" in out.getvalue()) is styled
    assert max(len(line) for line in out.getvalue().splitlines()) < 80 or styled
    assert Screen().width == 80
