"""`python -m benchmarks`: every benchmark at its default size, one after the other; results go to benchmarks/results."""

from __future__ import annotations

import runpy
import sys

for name in sys.argv[1:] or ("kernels", "extract", "store"):
    sys.argv = [f"bench_{name}", *(["--save"] if name == "extract" else [])]
    runpy.run_module(f"benchmarks.bench_{name}", run_name="__main__")
