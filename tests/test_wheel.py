"""The built wheel carries what the installed package needs."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(out / done.stdout.strip())


def test_catalogue_samples_and_templates_are_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for folder, pattern in (
        ("knowledge/data", "*"),
        ("knowledge/samples", "**/*"),
        ("advisor/report/templates", "*"),
    ):
        wanted = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).glob(pattern)
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert wanted, f"{folder} is empty"
        assert wanted <= names


def test_the_gpu_table_reads_from_the_wheel(wheel: zipfile.ZipFile) -> None:
    lines = wheel.read("knowledge/data/gpus.csv").decode().splitlines()
    assert len(list(csv.DictReader(lines))) >= 51


def test_only_our_packages_are_inside(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "advisor", "backends", "knowledge",
    }  # fmt: skip


def test_licence_and_command_are_declared(wheel: zipfile.ZipFile) -> None:
    info = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    text = wheel.read(info).decode()
    assert "License-Expression: Apache-2.0" in text
    points = wheel.read(info.replace("METADATA", "entry_points.txt")).decode()
    assert "advisor = advisor.cli:main" in points
