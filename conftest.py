"""Doctests of the GPU kernels are collected only where Triton is: there is no build of it for some systems."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["actlas/kernels/gpu*"]
