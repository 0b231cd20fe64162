"""Files named with their size and digest, and compared with that when they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import xxhash

from actlas.errors import DamagedStore, raise_shortage

#: Modification time, inode and size of a file.
Stamp = tuple[int, int, int]

#: Path of a file -> what it was when it was last found to be whole, and its digest. A file that is not touched is read once.
_whole: dict[str, tuple[Stamp, str]] = {}


class FileRecord(msgspec.Struct, frozen=True):
    """A file of the store.

    Attributes:
        path: Where it is inside the store.
        n_bytes: Its size.
        digest: xxh3-128 of its content, in hex.
    """

    path: str
    n_bytes: int
    digest: str


def digest(data: bytes) -> str:
    """What tells a file from every other one.

    Example:
        >>> digest(b"water")[:8]
        'e266affd'
    """
    return xxhash.xxh3_128_hexdigest(data)


def file_record(path: str, data: bytes) -> FileRecord:
    """What to tell a file with this content by."""
    return FileRecord(path, len(data), digest(data))


def record_files(root: Path, paths: Iterable[str]) -> tuple[FileRecord, ...]:
    """The records of files as they are on disk."""
    return tuple(file_record(path, (root / path).read_bytes()) for path in paths)


def checked_bytes(root: Path, record: FileRecord) -> bytes:
    """The content of a file.

    Raises:
        DamagedStore: If the file is missing, or is not the one that was committed.
    """
    file = root / record.path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise_shortage(error)
        raise DamagedStore(f"{file} was committed and cannot be read ({error.strerror}); {_WHAT_TO_DO}") from error
    if len(data) != record.n_bytes:
        raise DamagedStore(f"{file} holds {len(data):,} bytes, and {record.n_bytes:,} were committed; {_WHAT_TO_DO}")
    if digest(data) != record.digest:
        raise DamagedStore(f"{file} does not hold what was committed; {_WHAT_TO_DO}")
    return data


def check_file(root: Path, record: FileRecord) -> Path:
    """The path of a file that is known to be whole: it is read only where it changed since it was last found to be so.

    Raises:
        DamagedStore: As `checked_bytes`.
    """
    path = f"{root}/{record.path}"
    before = stamp(path)
    if before is None or _whole.get(path) != (before, record.digest):
        checked_bytes(root, record)
        if before is not None:
            _whole[path] = (before, record.digest)
    return Path(path)


def stamp(path: str) -> Stamp | None:
    """What changes with a file; None where it is not there."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size)


_WHAT_TO_DO = "actlas verify names all that is damaged; put a whole copy of the file back, or compute it again"
