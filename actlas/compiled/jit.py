"""Compilation by numba: once per machine and reported to the user; compiled loops run without Python's lock.

Machine code is kept in a folder of the user's, by the sources that it was made from, so that neither a fresh clone nor another
environment compiles again. Processes that need the same kernel at the same time wait for the one that compiles it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numba
from numba.core import caching, event
from numba.extending import intrinsic as _intrinsic

try:
    import fcntl
except ImportError:  # no such locks on this system: processes that start together all compile
    fcntl = None  # type: ignore[assignment]

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
#: A way in from Python is compiled for kernels alone: for every loop that they call it would take a fifth of all the time.
_NO_WAY_IN = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
#: Versions of the compiled loops that stay on disk; the ones that were not used for longest are deleted.
KEPT_VERSIONS = 8


def jit(function: F) -> F:
    """`function`, compiled into the kernels that call it: passing working memory on costs more than many of these loops."""
    return cast(F, numba.njit(forceinline=True, **_NO_WAY_IN, **_OPTIONS)(function))


def jit_apart(function: F) -> F:
    """`function`, compiled as one of its own, for loops that scatter.

    A large caller may leave a pointer on the stack and read it again after every store, and then they take twice as long.
    """
    return cast(F, numba.njit(**_NO_WAY_IN, **_OPTIONS)(function))


def jit_kernel(function: F) -> F:
    """`function`, which Python calls, after `compiled_now`."""
    return cast(F, numba.njit(no_cfunc_wrapper=True, **_OPTIONS)(function))


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `function`, which writes LLVM instructions, is to a compiled caller: its first parameter is numba's own."""
    return cast(Callable[..., Any], _intrinsic(function))


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """LLVM's pointer to an entry of a numba array; for use in intrinsics."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


@cache
def source_digest(folder: Path) -> str:
    """Changes with the source of any loop in `folder` or of what it stands on here, and with the compiler's version."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:2]}".encode())
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *sorted(folder.glob("*.py"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Where machine code is kept: below NUMBA_CACHE_DIR if that is set, else in the user's folder for caches."""
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR) / "actlas-kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actlas" / "kernels"


class _Locator(caching._CacheLocator):  # type: ignore[misc]
    """Finds a kernel's machine code by the digest of its sources; numba itself looks at the time of one file alone."""

    def __init__(self, folder: Path, line: int) -> None:
        self._folder, self._line = folder, line

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return self._folder.name

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator:
        return cls(cache_root() / source_digest(Path(file).parent), function.__code__.co_firstlineno)


class _CacheImpl(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _CacheImpl


class _Announcement(event.Listener):  # type: ignore[misc]
    """Tells the user when numba begins to compile a kernel, which it does only if the cache has none."""

    def __init__(self, dispatcher: Any) -> None:
        self.has_compiled = False
        self._dispatcher = dispatcher

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self._dispatcher:
            self.has_compiled = True
            logger.info("compiling kernels, once (%s)", self._dispatcher.__name__)

    def on_end(self, event: Any) -> None:
        pass


def compiled_now(kernel: F, signature: tuple[Any, ...]) -> F:
    """`kernel`, made by `jit_kernel`, once its machine code for `signature` is there: from the cache, or compiled here.

    What is not in the cache is compiled by one process while others wait for it. Where the cache's folder cannot be written or
    locked, every process compiles for itself.
    """
    dispatcher = cast(Any, kernel)
    if signature in dispatcher.overloads:
        return kernel
    folder = _open_cache(dispatcher)
    announcement = _Announcement(dispatcher)
    started = time.perf_counter()
    with _alone(folder, dispatcher.__name__), event.install_listener("numba:compile", announcement):
        dispatcher.compile(signature)
    if announcement.has_compiled:
        logger.info("compiled %s in %.1f s", dispatcher.__name__, time.perf_counter() - started)
        _delete_old(folder)
    return kernel


def _open_cache(dispatcher: Any) -> Path | None:
    """Gives a kernel its cache; None, with a warning, where there is no folder to write to."""
    try:
        folder = cache_root() / source_digest(Path(dispatcher.py_func.__code__.co_filename).parent)
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        dispatcher._cache = _Cache(dispatcher.py_func)
    except (OSError, RuntimeError) as error:
        logger.warning("compiled kernels cannot be cached (%s): every process will compile them again", error)
        return None
    return folder


@contextmanager
def _alone(folder: Path | None, name: str) -> Iterator[None]:
    """Keeps other processes from compiling the kernel `name` meanwhile, where files can be locked."""
    if folder is None or fcntl is None:
        yield
        return
    try:
        file = (folder / f"{name}.lock").open("ab")
    except OSError:
        yield
        return
    with file:
        try:
            _wait_for(file)
        except OSError as error:  # a file system without locks
            logger.debug("compiling without a lock: %s", error)
        yield


def _wait_for(file: IO[bytes]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logger.info("compiling kernels, once: another process does it, waiting")
        fcntl.flock(file, fcntl.LOCK_EX)


def _delete_old(folder: Path | None) -> None:
    """Deletes versions of the compiled loops that were not used for long; a process that needs one again compiles it."""
    if folder is None:
        return
    used = {}
    for path in folder.parent.iterdir():
        try:
            used[path] = path.stat().st_mtime
        except OSError:  # deleted by another process
            continue
    for path in sorted(used, key=lambda path: used[path], reverse=True)[KEPT_VERSIONS:]:
        shutil.rmtree(path, ignore_errors=True)
