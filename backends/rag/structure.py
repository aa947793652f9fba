"""The structure of a document: blocks of prose and code under their heading path."""

import re
from collections.abc import Iterator

import msgspec

SEPARATOR = " > "
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NO_HEADING = re.compile(r" {0,3}(?:[-*+>|]|\d{1,9}[.)])")
_MARK_UP = re.compile(r"[*_`]+|\[([^\]]*)\]\([^)]*\)|\{#[^}]*\}")


class Block(msgspec.Struct, frozen=True):
    """A run of lines: offsets into the document, its heading path, and what it is."""

    start: int
    end: int
    heading: str
    kind: str
    """`prose`, `code`, or `heading` for the heading's own line."""


class _Line(msgspec.Struct, frozen=True):
    start: int
    end: int
    text: str


def blocks(text: str, *, kind: str = "text", title: str = "") -> list[Block]:
    """The blocks of a document in order.

    Args:
        kind: `markdown` for headings, fenced code and front matter; `code` for source code, its
            top-level items one block each; of anything else only blank lines count.
        title: the document's own title, the root of every heading path.
    """
    lines = list(_lines(text))
    if kind == "markdown":
        return list(_markdown(lines, title))
    return list(_items(lines, title) if kind == "code" else _paragraphs(lines, title))


def _lines(text: str) -> Iterator[_Line]:
    # Not str.splitlines: it also breaks at form feeds and other separators, as Markdown does not.
    for match in re.finditer(r"[^\n]*\n|[^\n]+\Z", text):
        yield _Line(match.start(), match.end(), match.group().rstrip("\r\n"))


def _paragraphs(lines: list[_Line], heading: str) -> Iterator[Block]:
    held: list[_Line] = []
    for line in lines:
        if line.text.strip():
            held.append(line)
        elif held:
            yield _block(held, heading, "prose")
            held = []
    if held:
        yield _block(held, heading, "prose")


def _items(lines: list[_Line], heading: str) -> Iterator[Block]:
    """Source code from one line at the margin after an empty line to the next such line."""
    held: list[_Line] = []
    empty = False
    for line in lines:
        if not line.text.strip():
            empty = True
            continue
        at_margin = not line.text[0].isspace() and line.text[0] not in ")]}"
        if held and empty and at_margin:
            yield _block(held, heading, "code")
            held = []
        held.append(line)
        empty = False
    if held:
        yield _block(held, heading, "code")


def _markdown(lines: list[_Line], title: str) -> Iterator[Block]:
    path = [(0, title)] if title else []
    held: list[_Line] = []
    at = _after_front_matter(lines)
    if at:
        yield _block(lines[:at], title, "prose")
    while at < len(lines):
        line = lines[at]
        fence = _FENCE.match(line.text)
        heading = None if fence else _heading(line, lines[at + 1 : at + 2], under=bool(held))
        if not fence and not heading:
            at += 1
            if line.text.strip():
                held.append(line)
                continue
        if held:
            yield _block(held, _joined(path), "prose")
            held = []
        if fence:
            past = _after_fence(lines, at, fence.group(1))
            yield _block(lines[at:past], _joined(path), "code")
            at = past
        elif heading:
            level, name, used = heading
            path = [(deep, of) for deep, of in path if deep < level] + [(level, name)]
            yield _block(lines[at : at + used], _joined(path), "heading")
            at += used
    if held:
        yield _block(held, _joined(path), "prose")


def _after_front_matter(lines: list[_Line]) -> int:
    """How many lines the YAML front matter takes, its fences included; 0 where there is none."""
    if not lines or lines[0].text.strip() != "---":
        return 0
    for number, line in enumerate(lines[1:200], start=1):
        if line.text.strip() in ("---", "..."):
            return number + 1
    return 0


def _after_fence(lines: list[_Line], opened: int, mark: str) -> int:
    """The line after a fenced block; an unclosed fence runs to the end of the document."""
    for number in range(opened + 1, len(lines)):
        fence = _FENCE.match(lines[number].text)
        if fence and fence.group(1).startswith(mark) and not lines[number].text.strip(" `~"):
            return number + 1
    return len(lines)


def _heading(line: _Line, following: list[_Line], *, under: bool) -> tuple[int, str, int] | None:
    """Level, text and number of lines of a heading that begins here.

    `under`: the line goes on a paragraph; an underlined heading has a line of its own here.
    """
    match = _HEADING.match(line.text)
    if match:
        return len(match.group(1)), _plain(match.group(2) or ""), 1
    if under or not following or not line.text.strip() or _NO_HEADING.match(line.text):
        return None
    underline = _UNDERLINE.match(following[0].text)
    if underline is None:
        return None
    return (1 if underline.group(1)[0] == "=" else 2), _plain(line.text), 2


def _plain(heading: str) -> str:
    return " ".join(_MARK_UP.sub(lambda m: m.group(1) or "", heading).split())


def _joined(path: list[tuple[int, str]]) -> str:
    return SEPARATOR.join(name for _, name in path if name)


def _block(lines: list[_Line], heading: str, kind: str) -> Block:
    end = lines[-1].start + len(lines[-1].text)
    return Block(lines[0].start, end, heading, kind)
