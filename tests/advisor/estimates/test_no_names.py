"""Estimators read the fields of methods and engines, never their names."""

import ast
from pathlib import Path

import pytest

import advisor
from knowledge import engines, methods

FOLDER = Path(advisor.__file__).parent / "estimates"
NAMES = {*methods.table(), *engines.table()}


def _named(node: ast.AST) -> bool:
    """A literal that is a method's or an engine's name, or an id, method or engine field."""
    if isinstance(node, ast.Constant) and node.value in NAMES:
        return True
    if isinstance(node, ast.Attribute) and node.attr in ("id", "method", "engine"):
        return isinstance(node.value, ast.Attribute | ast.Name)
    return isinstance(node, ast.Tuple | ast.Set | ast.List) and any(map(_named, node.elts))


def _offences(tree: ast.AST) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            literal = any(isinstance(s, ast.Constant) and s.value is None for s in sides)
            if any(map(_named, sides)) and not literal:
                found.append(node.lineno)
        if isinstance(node, ast.Dict) and any(k is not None and _named(k) for k in node.keys):
            found.append(node.lineno)
        if isinstance(node, ast.MatchValue) and _named(node.value):
            found.append(node.value.lineno)
    return found


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_comparison_with_a_name(path: Path) -> None:
    assert _offences(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "text",
    ['x = job.method == "qlora"', 'x = engine.id != "litgpt"', 'x = m in ("lora", "dora")',
     'x = {"ppo": 1}[m]', "match m:\n  case 'dpo': pass"],
)  # fmt: skip
def test_the_test_sees_offences(text: str) -> None:
    assert _offences(ast.parse(text))
