"""Claims: ownership of a piece of work that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from actlas.errors import StoreError


class Claim:
    """Ownership of a piece of work, held as a lock on a file: it ends with the process that holds it, however that ends.

    Works between processes on one machine, and between machines on file systems that honour `flock` (NFSv4, Lustre with
    the `flock` mount option).

    Raises:
        StoreError: Where the file system has no locks at all.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd: int | None = fd

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """The claim, or None where another owner holds it."""
        return cls._lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @classmethod
    def hold(cls, path: Path) -> Self:
        """The claim, after waiting for the owner that holds it."""
        claim = cls._lock(path, fcntl.LOCK_EX)
        assert claim is not None  # a blocking lock is granted or interrupted, never refused
        return claim

    @classmethod
    def _lock(cls, path: Path, how: int) -> Self | None:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                continue  # an owner has removed the folder with the file
            try:
                fcntl.flock(fd, how)
                # the owner before us may have removed the file between our open and our lock
                if os.path.exists(path) and os.fstat(fd).st_ino == os.stat(path).st_ino:
                    return cls(path, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except FileNotFoundError:
                pass
            except OSError as error:
                os.close(fd)
                raise StoreError(
                    f"the file system of {path.parent} has no locks ({error.strerror}), which keep two runs from one piece of "
                    "work; put the store on another one, or mount this one with them (Lustre: -o flock)"
                ) from error
            os.close(fd)

    def release(self) -> None:
        """Give the claim back and remove its file; further calls do nothing."""
        if self._fd is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def writers_claim(store: Path) -> Path:
    """What everyone who writes into a store shares, and the one who starts it over, or gives it a log, has alone."""
    return store / "manifests" / "writers.claim"


class SharedClaim(Claim):
    """A claim that several owners hold at once; while one of them does, `Claim.take` of the same file gives None."""

    @classmethod
    def hold(cls, path: Path) -> Self:
        """The claim, after waiting for an owner that wants it alone."""
        claim = cls._lock(path, fcntl.LOCK_SH)
        assert claim is not None  # a blocking lock is granted or interrupted, never refused
        return claim

    def release(self) -> None:
        """Give the claim back; the last owner removes its file."""
        if self._fd is not None:
            with suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                super().release()
                return
            os.close(self._fd)
            self._fd = None
