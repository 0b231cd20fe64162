"""Settings that must stand before any test module is imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

# Doctests of the GPU kernels are collected only where Triton is: there is no build of it for some systems.
collect_ignore_glob = [] if find_spec("triton") else ["actlas/kernels/gpu/*"]

# Triton reads this when it is first imported, by whatever test module comes first.
if not Path("/dev/nvidia0").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")
