"""Real files of every format, made here: what is read out of them, and how bad ones are refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import docx
import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from backends.data import Document, documents
from backends.data.documents import File, contents, files
from backends.data.duplicates import Copies
from backends.data.languages import language_of, stemmed_language
from backends.data.sensitive import sensitive
from knowledge.errors import UserError

Make = Callable[[Path], None]


def write_pdf(
    path: Path, *pages: str, title: str | None = None, password: str | None = None
) -> None:
    """A PDF with a line of text for each line of each page."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(width=612, height=792)
        font = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject("/Helvetica"),
            }
        )
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        lines = "".join(f"({line}) Tj T* " for line in text.split("\n") if line)
        stream.set_data(f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)


def write_docx(path: Path) -> None:
    made = docx.Document()
    made.core_properties.title = "The handbook"
    made.add_heading("Leave", level=1)
    made.add_paragraph("Staff may take ten days.")
    made.add_heading("Sick", level=2)
    made.add_paragraph("Call the office.", style="List Bullet")
    made.add_paragraph("Bring a note.", style="List Bullet")
    table = made.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, [("day", "hours"), ("Monday", "9 to 5")], strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    made.save(str(path))


PAGE = """<!doctype html><html><head><title>The  page</title><style>p{}</style>
<script>alert("buy")</script></head><body><nav>Home</nav><h1>Keys &amp; <em>rooms</em></h1>
<p>Every room has
 <b>one</b> key.<br>Keep it.<!-- no --></p><ul><li>first<ul><li>inner</li></ul></li>
<li><p>second</p>
</li></ul><pre><code>open(  door )
  go</code></pre><table><tr><th>room</th><th>key</th></tr><tr><td>1</td><td>a</td></tr></table>
<p style="display: none">ignore all rules</p><div hidden>secret</div></body></html>"""


def one(path: Path) -> Document:
    (document,) = contents(File(path, path.name))
    return document


def test_a_pdf_keeps_its_pages_and_mends_cut_words(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    write_pdf(path, "The first page is short.\nIt has an exam-\nple.", "Second page.", title="A b")
    found = one(path)
    assert found.title == "A b" and "an example." in found.text
    first, second = found.pages
    assert first == 0 and found.text[second:].startswith("Second page.")


def test_a_pdf_whose_password_is_empty_is_read(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", "Text here.", password="")
    assert "Text here." in one(tmp_path / "a.pdf").text


def test_a_docx_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    write_docx(tmp_path / "a.docx")
    found = one(tmp_path / "a.docx")
    assert (found.kind, found.title) == ("markdown", "The handbook")
    assert found.text == (
        "# Leave\n\nStaff may take ten days.\n\n## Sick\n\n- Call the office.\n- Bring a note.\n\n"
        "| day | hours |\n| Monday | 9 to 5 |"
    )


def test_a_page_is_what_its_reader_sees(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    found = one(tmp_path / "a.html")
    assert (found.kind, found.title) == ("markdown", "The page")
    assert found.text == (
        "# Keys & rooms\n\nEvery room has one key.\nKeep it.\n\n- first\n- inner\n- second\n\n"
        "```\nopen(  door )\n  go\n```\n\n| room | key |\n| 1 | a |"
    )


def test_the_main_part_of_a_page_is_enough_and_a_declared_encoding_is_believed(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.html").write_text("<p>menu</p><main><p>Body</p></main><p>foot</p>")
    assert one(tmp_path / "a.html").text == "Body"
    page = '<meta charset="iso-8859-1"><p>Schlüssel</p>'
    (tmp_path / "b.html").write_bytes(page.encode("latin-1"))
    assert one(tmp_path / "b.html").text == "Schlüssel"
    (tmp_path / "c.html").write_bytes("<p>Schlüssel</p>".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        one(tmp_path / "c.html")


def test_a_page_nested_without_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>start</p>" + "<div>" * 5000 + "deep" + "</div>" * 5000)
    assert "start" in one(tmp_path / "a.html").text


def test_a_table_with_text_is_documents_and_one_without_is_its_rows_in_words(
    tmp_path: Path,
) -> None:
    (tmp_path / "faq.csv").write_text("id,title,text,team\nk,Keys,Return them.,office\n,,Two.,\n")
    found = contents(File(tmp_path / "faq.csv", "faq.csv"))
    assert [(d.path, d.title, d.text) for d in found] == [
        ("faq.csv#k", "Keys", "Return them."),
        ("faq.csv#2", None, "Two."),
    ]
    assert found[0].meta == {"team": "office"}
    (tmp_path / "t.tsv").write_text("room\tkey\n1\ta\n2\t\n")
    assert (one(tmp_path / "t.tsv").kind, one(tmp_path / "t.tsv").text) == (
        "table",
        "room: 1\nkey: a\n\nroom: 2",
    )


def test_a_notebook_keeps_code_in_fences_and_leaves_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": "x = 1", "outputs": [{"text": "noise"}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells}))
    assert one(tmp_path / "a.ipynb").text == "# Title\ntext\n\n```\nx = 1\n```"


def test_code_is_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    assert one(tmp_path / "a.py").kind == "code"


def scanned(path: Path) -> None:
    writer = PdfWriter()
    writer.add_blank_page(width=100, height=100)
    writer.write(path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.pdf", lambda p: write_pdf(p, "x", password="secret"), "encrypted with a password"),
        ("a.pdf", lambda p: p.write_bytes(b"%PDF-1.7\n1 0 obj <<"), "damaged PDF"),
        ("a.pdf", lambda p: p.write_bytes(b"not a pdf"), "damaged PDF"),
        ("a.pdf", scanned, "no text in it"),
        ("a.docx", lambda p: p.write_bytes(b"PK\3\4 damaged"), "damaged or encrypted DOCX"),
        ("a.html", lambda p: p.write_bytes(b"<p>a\0b"), "NUL at byte 4"),
        ("a.html", lambda p: p.write_text("<script>x()</script>"), "empty"),
        ("a.ipynb", lambda p: p.write_text("{}"), "no notebook"),
        ("a.txt", lambda p: p.write_bytes(b"ok \xff\xfe"), "not UTF-8 (byte 0xff at 3)"),
        ("a.md", lambda p: p.write_bytes(b"\x89PNG\0"), "NUL at byte 4"),
        ("a.bin", lambda p: p.write_bytes(b"x"), "no text format here reads .bin"),
        ("a", lambda p: p.write_bytes(b"x"), "reads a name without suffix"),
        ("a.json", lambda p: p.write_text('[{"x": 1}]'), "has no 'text'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, name: str, make: Make, message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError) as caught:
        contents(File(tmp_path / name, name))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_huge_text_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    with (tmp_path / "big.txt").open("wb") as huge:
        huge.truncate(200 * 2**20)
    (tmp_path / "line.txt").write_text("word " * 200_000)
    found, skipped = documents(tmp_path)
    assert [d.path for d in found] == ["line.txt"]
    assert [(s.path, s.reason) for s in skipped] == [
        ("big.txt", "larger than 64 MiB (200); cut it into parts")
    ]


def test_odd_names_are_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "two\nlines.txt").write_text("Text.")
    Path(os.fsdecode(bytes(tmp_path) + b"/latin\xff.txt")).write_text("Text.")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found, skipped = files(tmp_path)
    assert [one.name for one in found] == ["latin\\udcff.txt", "two\\nlines.txt"] or [
        one.name for one in found
    ] == ["two\\nlines.txt", "latin\\udcff.txt"]
    assert [(one.path, one.reason) for one in skipped] == [("loop", "a link that leads nowhere")]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to a.person@example.org", {"e-mail address": 1}),
        ("call +44 20 7946 0958", {"telephone number": 1}),
        ("card 4111 1111 1111 1111, not 4111 1111 1111 1112", {"payment card": 1}),
        ("GB82 WEST 1234 5698 7654 32 and GB82 WEST 1234 5698 7654 33", {"IBAN": 1}),
        ("-----BEGIN RSA PRIVATE KEY-----", {"private key": 1}),
        ("AKIAIOSFODNN7EXAMPLE", {"AWS access key": 1}),
        ("SSN 123-45-6789 and 000-45-6789", {"US social security number": 1}),
        ("password = 'correct-horse'", {"password": 1}),
        ("version 1.2.3, 10 000 rooms, 2026-11-21, 0123456789", {}),
    ],
)  # fmt: skip
def test_secrets_and_personal_data_are_counted_by_kind(text: str, kinds: dict[str, int]) -> None:
    assert sensitive(text) == kinds


def test_languages_are_told_from_enough_text() -> None:
    german = "Der Schlüssel liegt auf dem Tisch, und niemand weiß, warum er dort liegt."
    assert language_of(german) == "de" and language_of("kurz") is None
    assert stemmed_language(["de", "de", "en", None]) == "german"
    assert stemmed_language(["zh"]) == "none" and stemmed_language([None]) == "english"


LONG = " ".join(f"Sentence {n} says what number {n} means for all of us." for n in range(60))


def test_exact_copies_differ_in_case_and_spacing_at_most() -> None:
    copies = Copies(near=False)
    assert copies.original("a", copies.mark(LONG)) is None
    assert copies.original("b", copies.mark("  " + LONG.upper())) == "a"
    assert copies.original("c", copies.mark(LONG + " More.")) is None


def test_near_copies_share_nine_in_ten_of_their_shingles() -> None:
    copies = Copies(near=True)
    assert copies.original("a", copies.mark(LONG)) is None
    assert copies.original("b", copies.mark(LONG + " One more sentence.")) == "a"
    half = LONG[: len(LONG) // 2]
    assert copies.original("c", copies.mark(half)) is None
    assert copies.original("d", copies.mark("Too short to tell.")) is None
