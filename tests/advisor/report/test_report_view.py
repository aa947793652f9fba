"""A view on the terminal and as a page: the answer first, everything escaped, no network."""

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from advisor.report.page import drawing, html
from advisor.report.terminal import show
from advisor.report.view import Bar, Chart, Line, Table, Text, View
from knowledge.quantities import Range

EVIL = "<script>alert('x')</script> [bold]not bold[/bold]"
VIEW = View(
    "A report",
    ("First line of the answer", EVIL),
    (
        Table("Options", ("name", "cost"), (("lora", "3 USD"), (EVIL, "unknown")), note="a note"),
        Chart(
            "Memory", "GiB",
            (Bar("qlora", Range(7, 8, 9), mark=8.5), Bar("full", Range(50, 60, 80))),
            limit=24, limit_label="the card",
        ),
        Text("Why", (Line("because", "see https://example.org/a?b=1"),)),
    ),
    ("footer",),
)  # fmt: skip


def printed(width: int) -> str:
    stream = io.StringIO()
    show(VIEW, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_the_terminal_answers_first_and_fits(width: int) -> None:
    lines = printed(width).splitlines()
    assert lines[0] == "First line of the answer"
    assert max(len(line) for line in lines) <= width
    assert EVIL in printed(140)


def test_the_terminal_draws_interval_limit_and_mark() -> None:
    row = next(line for line in printed(100).splitlines() if "qlora" in line)
    assert "x" in row and "|" in row and "measured 8.50" in row
    full = next(line for line in printed(100).splitlines() if "full" in line)
    assert full.index("o") > row.index("x")


class Seen(HTMLParser):
    """Tags and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_is_self_contained_and_escaped() -> None:
    page = html(VIEW)
    seen = Seen()
    seen.feed(page)
    assert "script" not in seen.tags and "link" not in seen.tags
    assert seen.links == ["https://example.org/a?b=1"]
    assert not re.search(r"url\(|@import", page)
    assert "&lt;script&gt;" in page
    assert page.index("First line of the answer") < page.index("Options")


def test_a_chart_keeps_order_and_limit() -> None:
    chart = next(section for section in VIEW.sections if isinstance(section, Chart))
    drawn = drawing(chart)
    low, high = drawn.bars
    assert low.low < low.mid < low.mark < low.high < drawn.limit < high.low
    assert drawn.ticks[0][1] == "0"


def test_a_logarithmic_chart_spaces_decades_evenly() -> None:
    bars = tuple(Bar(str(v), Range(v / 2, v, v * 2)) for v in (1.0, 10.0, 100.0))
    drawn = drawing(Chart("Cost", "USD", bars, logarithmic=True))
    a, b, c = (bar.mid for bar in drawn.bars)
    assert b - a == pytest.approx(c - b, abs=0.2)
