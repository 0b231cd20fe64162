"""Compilation by numba: cached on disk where a folder can be written, reported once, without Python's lock while running."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic as _intrinsic

logger = logging.getLogger("actlas.kernels")
F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    # Nothing is allocated in compiled code, so arrays are not reference-counted: that took a quarter of the time.
    "_nrt": False,
    # Sums may be reordered for vector instructions and multiply-adds fused; no float is NaN or told by its zero's sign.
    "fastmath": {"reassoc", "contract", "nsz", "nnan"},
}


def jit(function: F) -> F:
    """`function`, compiled into the kernels that call it: passing working memory on costs more than many of these loops."""
    return cast(F, numba.njit(forceinline=True, **_OPTIONS)(function))


def jit_apart(function: F) -> F:
    """`function`, compiled as one of its own, for loops that scatter: a large caller may leave a pointer on the stack and read it
    again after every store, and then they take twice as long."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `function`, which writes LLVM instructions, is to a compiled caller: its first parameter is numba's own."""
    return cast(Callable[..., Any], _intrinsic(function))


@cache
def source_digest(folder: Path) -> int:
    """A number that changes with the source of any loop in `folder`, or of what it stands on here."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *sorted(folder.glob("*.py"))):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


def cached_kernel(folder: Path) -> Callable[[Callable[[int], F]], F]:
    """Decorates a function that returns a kernel: it is compiled when first called and kept on disk for later processes.

    Args:
        folder: Where the loops that the kernel calls are.

    numba's cache looks at the file of the kernel alone, and would run stale code after a change in a function that it calls
    from another file. It does look at the constants of enclosing functions, so the decorated function gets `source_digest` and
    must return a function that mentions it.
    """

    def decorate(make: Callable[[int], F]) -> F:
        kernel = make(source_digest(folder))
        try:
            return cast(F, numba.njit(cache=True, **_OPTIONS)(kernel))
        except RuntimeError as error:  # no folder to write to
            logger.warning("compiled kernels cannot be cached (%s): every process will compile them anew", error)
            return cast(F, numba.njit(**_OPTIONS)(kernel))

    return decorate


def compiled(kernel: F, signature: tuple[Any, ...]) -> F:
    """`kernel`, once machine code for `signature` is there; logs it when that took a compilation."""
    dispatcher = cast(Any, kernel)
    if signature not in dispatcher.overloads:
        started = time.perf_counter()
        dispatcher.compile(signature)
        if not dispatcher.stats.cache_hits:
            seconds = time.perf_counter() - started
            logger.info("compiled %s in %.1f s; later processes load it from the cache", dispatcher.__name__, seconds)
    return kernel
