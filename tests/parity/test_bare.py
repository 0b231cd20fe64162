"""What runs on a borrowed GPU needs torch, triton, numpy and pytest, and no other package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parity.bare import Missing, with_requirements

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    command = [sys.executable, str(ROOT / "tests" / "parity" / "bare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}, check=False)


def test_parity_runs_with_little_installed():
    pytest.importorskip("triton")
    found = run("tests/parity/test_kernels_gpu.py", "-k", "members or bad_ones")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "3 passed" in found.stdout


def test_every_test_for_a_device_can_be_collected_there():
    pytest.importorskip("triton")
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    files.remove(Path(__file__))
    assert files
    found = run("--collect-only", "-q", "-m", "gpu", *map(str, files))
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_benchmark_loads_there():
    pytest.importorskip("triton")
    code = """
import sys
from tests.parity.bare import Missing, NEEDED, with_requirements
sys.meta_path.insert(0, Missing(with_requirements(NEEDED)))
import benchmarks.gpu.bench_gpu
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 0, found.stderr


def test_other_packages_are_out_of_reach():
    missing = Missing(with_requirements(["numpy", "pytest"]))
    assert {"polars", "numba", "torch"} <= missing.names
    assert not {"numpy", "pytest", "_pytest", "pluggy", "iniconfig"} & missing.names
    with pytest.raises(ModuleNotFoundError, match="polars is taken away"):
        missing.find_spec("polars")
