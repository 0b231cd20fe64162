"""The wheel holds the whole package, and what it holds works without the source tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

IMPORTS = """
import actlas, actlas.cli, actlas.demo, actlas.extract, actlas.kernels, actlas.query, actlas.report, actlas.store, actlas.testing
from actlas.query.sql.macro import macros
print(actlas.__file__)
print(len(macros()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because setuptools leaves folders beside what it builds."""
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "actlas", source / "actlas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True)
    (path,) = folder.glob("actlas-*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "actlas").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"actlas/py.typed", "actlas/query/sql/macros/lape_overlap.sql"} <= sources
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    assert packed == sources


def test_the_wheel_alone_is_imported_and_finds_its_macros(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # isolated: neither the working folder nor PYTHONPATH lead to the source tree; the path is put before an editable installation
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{IMPORTS}"
    ended = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    location, n_macros = ended.stdout.split()
    assert Path(location).is_relative_to(tmp_path / "site")
    assert int(n_macros) == len(list((ROOT / "actlas/query/sql/macros").glob("*.sql")))
