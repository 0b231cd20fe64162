"""Whoever waits for kernels to compile is told so, by every verb, on standard error."""

import subprocess
import sys

CODE = """
import logging
from actlas.cli import run
run({arguments})
logging.getLogger("actlas.kernels").info("compiling kernels, once")
"""


def stderr_of(*arguments):
    code = CODE.replace("{arguments}", repr([*arguments]))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr


def test_compiling_is_shown_unless_only_errors_are_wanted(tmp_path):
    assert "compiling kernels, once" in stderr_of("info", str(tmp_path / "nothing"))
    assert "compiling kernels, once" not in stderr_of("--quiet", "info", str(tmp_path / "nothing"))
