"""Passages: exact offsets, nothing lost, nothing too long, code and headings respected."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.rag.chunks import LONGEST_TOKEN, Chunk, chunks, texts_of


def word_starts(texts: Sequence[str]) -> list[list[int]]:
    """A tokenizer for tests: words and single symbols."""
    return [[m.start() for m in re.finditer(r"\w+|[^\w\s]", text)] for text in texts]


def count(text: str) -> int:
    return len(word_starts([text])[0])


def cut(text: str, size: int = 20, overlap: int = 0, **options: object) -> list[Chunk]:
    return chunks("d.md", text, word_starts, size=size, overlap=overlap, **options)  # type: ignore[arg-type]


PIECES = st.sampled_from(
    [
        "# One\n",
        "## Two\n",
        "word ",
        "Yes. ",
        "\n",
        "\n\n",
        "```\n",
        "- item\n",
        "| a | b |\n",
        "Title\n=====\n",
        "---\n",
        "né 山川。",
        "x" * 30 + " ",
        "\t",
        "end!\r\n",
        "e.g. this ",
    ]
)


@given(st.lists(PIECES, max_size=60).map("".join), st.integers(2, 25), st.booleans())
@example("```\n" + "a b c\n" * 30, 8, True)
@example("# Only a heading", 8, True)
def test_passages_are_exact_ordered_whole_and_small(text: str, size: int, markdown: bool) -> None:
    found = cut(text, size, size // 2, kind="markdown" if markdown else "text")
    starts = [chunk.start for chunk in found]
    ends = [chunk.end for chunk in found]
    assert starts == sorted(set(starts)) and ends == sorted(set(ends))
    held = set()
    for chunk in found:
        assert chunk.text == text[chunk.start : chunk.end] and chunk.text.strip()
        room = max(size - count(chunk.heading), size // 2)
        assert count(chunk.text) <= room
        held.update(range(chunk.start, chunk.end))
    paths = " ".join(chunk.heading for chunk in found)
    for match in re.finditer(r"\w+", text):
        in_heading = markdown and match.group() in paths
        assert match.start() in held or in_heading, match


def test_a_passage_carries_its_heading_path_and_never_reaches_over_a_heading() -> None:
    text = "# Pay\n\nIntro.\n\n## *When* [paid](x)\n\nMonthly.\n\n# Leave #\n\nTen days.\n"
    found = cut(text, size=40, kind="markdown")
    assert [(c.heading, c.text) for c in found] == [
        ("Pay", "Intro."),
        ("Pay > When paid", "Monthly."),
        ("Leave", "Ten days."),
    ]
    assert found[1].searched == "Pay > When paid\nMonthly."


def test_underlined_headings_front_matter_and_hashes_in_code() -> None:
    text = "---\ntitle: x\n---\nGuide\n=====\nText here.\n\n```sh\n# no heading\nrun\n```\n"
    found = cut(text, size=40, kind="markdown")
    assert [c.heading for c in found] == ["", "Guide"]
    assert found[1].text == "Text here.\n\n```sh\n# no heading\nrun\n```"


def test_hashes_are_text_in_a_plain_file() -> None:
    assert [c.heading for c in cut("# not a heading\n\nbody", size=40)] == [""]


def test_a_heading_with_nothing_under_it_is_kept() -> None:
    found = cut("# One\n\nText.\n\n# Contact us\n", size=20, kind="markdown")
    assert found[-1].text == "# Contact us" and found[-1].heading == "Contact us"


def test_code_that_fits_is_never_cut_and_longer_code_is_cut_between_lines() -> None:
    code = "```\nfirst call\nsecond call\n```"
    prose = "Some words come before it and they fill most of a passage here. "
    found = cut(f"{prose}\n\n{code}\n\nMore words after.", size=20, kind="markdown")
    assert any(code in c.text for c in found)
    lines = [f"line number {n}" for n in range(20)]
    pieces = cut("```\n" + "\n".join(lines) + "\n```", size=12, kind="markdown")
    assert len(pieces) > 3
    whole = {line for piece in pieces for line in piece.text.splitlines()}
    assert whole == {"```", *lines}


def test_neighbours_share_whole_sentences_up_to_the_overlap() -> None:
    text = " ".join(f"Sentence number {n} is here." for n in range(8))
    found = cut(text, size=18, overlap=6)
    for before, after in pairwise(found):
        shared = text[after.start : before.end]
        assert 0 < count(shared) <= 6 and shared.startswith("Sentence")


def test_prose_is_cut_at_a_paragraph_where_that_leaves_the_passage_half_full() -> None:
    first, second = "One two three four five six seven.", "Eight nine ten eleven twelve. More."
    found = cut(f"{first}\n\n{second}", size=14)
    assert [c.text for c in found] == [first, second]


def test_equal_passages_under_equal_headings_have_equal_hashes() -> None:
    one, two, three = cut("# A\n\nSame.\n\n# A\n\nSame.\n\n# B\n\nSame.", kind="markdown")[:3]
    assert one.hash == two.hash != three.hash


def test_a_title_is_the_root_of_the_heading_path() -> None:
    assert cut("Text.", title="Handbook")[0].heading == "Handbook"
    found = cut("# Pay\n\nText.", title="Handbook", kind="markdown")
    assert found[0].heading == "Handbook > Pay"


def test_a_text_can_be_put_together_again_from_overlapping_passages() -> None:
    text = "  " + " ".join(f"Sentence number {n} is here." for n in range(9))
    again = texts_of(cut(text, size=14, overlap=6))["d.md"]
    assert again == text


def test_a_million_characters_without_a_space_are_cut_in_pieces() -> None:
    def four_each(texts: Sequence[str]) -> list[list[int]]:
        return [list(range(0, len(text), 4)) for text in texts]

    found = chunks("d", "x" * 1_000_000, four_each, size=200, overlap=20)
    assert len(found) == 1250 and "".join(c.text for c in found) == "x" * 1_000_000


def test_letters_without_a_space_that_are_one_token_are_cut_all_the_same() -> None:
    text = "before " + "x" * 300_000 + "  after. " + " " * 500 + "End."
    found = cut(text, size=20)
    assert max(len(c.text) for c in found) <= 20 * LONGEST_TOKEN
    assert texts_of(found)["d.md"].split() == text.split()
    assert found[-1].text.endswith("End.")


def test_a_large_text_is_given_to_the_tokeniser_part_by_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backends.rag.chunks.PIECES_CHARACTERS", 1000)
    given: list[int] = []

    def starts(texts: Sequence[str]) -> list[list[int]]:
        given.append(sum(map(len, texts)))
        return word_starts(texts)

    text = "\n\n".join(f"Paragraph number {n} says a few words." for n in range(200))
    found = chunks("d.md", text, starts, size=20, overlap=0)
    assert max(given) <= 1000 < sum(given)
    assert found == cut(text, size=20)


def test_a_passage_says_on_which_pages_it_stands() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    pages = (0, text.index("Five".lower()), text.index("Ten"))
    found = chunks("d", text, word_starts, size=8, overlap=0, pages=pages)
    assert [(c.text, c.page, c.last_page) for c in found] == [
        ("One two three. Four five six.", 1, 2),
        ("Seven eight nine. Ten eleven twelve.", 2, 3),
    ]
    assert cut("No pages.")[0].page is None


def test_code_is_cut_between_its_items_and_an_item_that_fits_is_whole() -> None:
    first = "import sys\n\n\ndef one(a):\n    b = a\n\n    return b\n"
    second = "\n\ndef two(a):\n    return [\n        a,\n    ]\n"
    found = cut(first + second, size=21, kind="code", title="d.py")
    assert [c.text for c in found] == [first.rstrip(), second.strip()]
    assert all(c.heading == "d.py" for c in found)
