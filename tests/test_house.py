"""The house keeps its rules: light commands, light faces, one direction of imports."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import advisor
import backends
import knowledge

HEAVY = (
    "torch", "transformers", "peft", "trl", "accelerate", "datasets", "sentence_transformers",
    "faiss", "sklearn", "numpy", "pandas", "pyarrow", "openai", "scipy",
)  # fmt: skip
ROOTS = [Path(str(package.__file__)).parent for package in (knowledge, backends, advisor)]
ESTIMATE = [
    "estimate", "llama-3.1-8b", "--method", "qlora", "--gpu", "rtx-4090",
    "--seq-len", "2048", "--micro-batch", "1",
]  # fmt: skip


def modules_after(arguments: list[str]) -> set[str]:
    """The modules that a process holds after a command of the advisor."""
    code = (
        "import sys, json\n"
        "from advisor.cli import advisor, guarded\n"
        f"code = guarded(lambda: advisor.main({arguments!r}, standalone_mode=False))\n"
        "print()\nprint(json.dumps([code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, names = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    return set(names)


@pytest.mark.parametrize("arguments", [["--help"], ESTIMATE, [*ESTIMATE, "--json"]])
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    heavy = {name for name in modules_after(arguments) if name.split(".")[0] in HEAVY}
    assert not heavy


def test_help_imports_no_command() -> None:
    imported = {name for name in modules_after(["--help"]) if name.startswith("advisor.cli.")}
    assert not imported


@pytest.mark.parametrize("method", ["head-ft", "lora", "rag", "prompt", "curate"])
def test_faces_of_backends_are_light(method: str) -> None:
    code = f"import sys, backends; backends.load({method!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {name for name in done.stdout.split() if name.split(".")[0] in HEAVY}
    assert not heavy


def sources() -> list[Path]:
    return [path for root in ROOTS for path in sorted(root.rglob("*.py"))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: "/".join(path.parts[-3:]))
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350, "a module says one thing; split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno
            assert length <= 70, f"{node.name} does not fit a screen"


@pytest.mark.parametrize("path", sources(), ids=lambda path: "/".join(path.parts[-3:]))
def test_public_things_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module says what it is"
    for node in tree.body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and path.parent.name != "families":  # there a function is named by its family
            assert ast.get_docstring(node), f"{node.name} says what it is"
