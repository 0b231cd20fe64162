"""Compilation by numba: cached on disk where a folder can be written, reported once, without Python's lock while running."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

logger = logging.getLogger("actlas.kernels")
F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """`function`, compiled when first called.

    Sums may be reordered (so that they use vector instructions) and multiply-adds fused; nothing else of IEEE arithmetic is given up.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "boundscheck": False,
        "fastmath": {"reassoc", "contract", "nsz", "nnan"},
        "error_model": "numpy",
    }
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError as error:  # numba found no folder it may write to
        logger.warning("compiled kernels cannot be cached (%s): every process will compile them anew", error)
        return cast(F, numba.njit(**options)(function))


def compiled(kernel: F, signature: tuple[Any, ...]) -> F:
    """`kernel`, after making sure that machine code for `signature` is there; says so when that took a compilation."""
    dispatcher = cast(Any, kernel)
    if signature in dispatcher.overloads:
        return kernel
    started = time.perf_counter()
    dispatcher.compile(signature)
    if dispatcher.stats.cache_misses:
        logger.info(
            "compiled %s in %.1f s; later processes load it from the cache", dispatcher.__name__, time.perf_counter() - started
        )
    return kernel
