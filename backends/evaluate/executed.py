"""Answers that are programs, scored by what they do: tests that pass, queries that agree."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex

import msgspec

from backends.evaluate import sandbox

_FENCE = re.compile(r"```[\w-]*\n(.*?)```", re.DOTALL)
_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)

_QUERIES = """
import json, sqlite3, sys
told = {told!r}
db = sqlite3.connect("file:/run/shown?mode=ro&immutable=1", uri=True)
def rows(query):
    try:
        return [[repr(cell) for cell in row] for row in db.execute(query).fetchmany(100000)]
    except (sqlite3.Error, sqlite3.Warning) as error:
        return str(error)
print(json.dumps([rows(query) for query in told]))
"""


def code_of(answer: str) -> str:
    """The program in an answer: its fenced blocks, or all of it."""
    blocks = _FENCE.findall(answer)
    return "\n\n".join(blocks) if blocks else answer


def passes(answer: str | None, accepted: Sequence[str]) -> bool:
    """Whether a Python program passes its tests: the accepted texts that hold an `assert`.

    Raises:
        UserError: there is no sandbox here.
    """
    tests = [one for one in accepted if _asserts(one)]
    if answer is None or not tests:
        return False
    # A program that ends by itself before its tests have run does not say the word.
    word = token_hex(16)
    program = "\n\n".join((code_of(answer), *tests, f"print('\\n{word}')"))
    ran = sandbox.python(program)
    return ran.fault is None and ran.output.rstrip().endswith(word)


def same_rows(answer: str | None, accepted: Sequence[str], database: Path) -> bool:
    """Whether a query brings the rows of an accepted one from a sqlite file, opened read-only.

    The order of rows counts where the accepted query orders them.

    Raises:
        UserError: there is no sandbox here.
    """
    if answer is None:
        return False
    told = [code_of(answer).strip(), *accepted]
    ran = sandbox.python(_QUERIES.format(told=told), shown=database)
    if ran.fault is not None:
        return False
    mine, *wanted = msgspec.json.decode(ran.output)
    return any(
        not isinstance(rows, str) and not isinstance(mine, str) and _agree(mine, rows, query)
        for rows, query in zip(wanted, accepted, strict=True)
    )


def _agree(mine: list[list[str]], wanted: list[list[str]], query: str) -> bool:
    return mine == wanted if _ORDERED.search(query) else sorted(mine) == sorted(wanted)


def _asserts(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree))
