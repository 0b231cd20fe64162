"""Run pytest as on a machine that has torch, triton, numpy and pytest and nothing else.

    python tests/parity/bare.py tests/parity/test_kernels_gpu.py

What other packages install cannot be imported, although it may be there. Nothing but Python is needed to start.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("numpy", "pytest", "torch", "triton")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_requirements(names: Iterable[str]) -> set[str]:
    """Distributions and all that they need, their extras left out."""
    found: set[str] = set()
    left = [normal(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # for another system
        left += [normal(re.split(r"[^\w.-]", line)[0]) for line in lines if "extra ==" not in line]
    return found


class Missing(MetaPathFinder):
    """Imports of what other distributions bring fail."""

    def __init__(self, allowed: set[str]) -> None:
        #: Top-level modules that no allowed distribution has.
        self.names = {
            module for module, owners in packages_distributions().items() if not allowed & {normal(owner) for owner in owners}
        } - {"actlas", "tests", "benchmarks"}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is taken away; only {', '.join(NEEDED)} are there", name=name)


def main(arguments: list[str]) -> int:
    sys.meta_path.insert(0, Missing(with_requirements(NEEDED)))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import pytest

    # other versions of torch and triton warn of other things, and fixtures of other tests need more than is here
    return int(pytest.main(["--noconftest", "-W", "default", *arguments]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
