"""`python -m benchmarks`: every benchmark at its default size, one after the other; results go to benchmarks/results.

`python -m benchmarks NAME --OPTION ...` runs one of them with options of its own.
"""

from __future__ import annotations

import runpy
import sys

arguments = sys.argv[1:] or ["kernels", "extract", "store"]
first = next((place for place, argument in enumerate(arguments) if argument.startswith("-") or "/" in argument), len(arguments))
for name in arguments[:first]:
    sys.argv = [f"bench_{name}", *(["--save"] if name == "extract" else []), *arguments[first:]]
    runpy.run_module(f"benchmarks.bench_{name}", run_name="__main__")
