"""Files that are either whole or absent: atomic writes, and JSON records."""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Random bytes in the name of a temporary file, and what such names look like.
_TOKEN_BYTES = 6
#: What is collected before it goes to a file: chunks of scores are small.
_BUFFER_BYTES = 1 << 20
_TEMPORARY = f"*.{'[0-9a-f]' * 2 * _TOKEN_BYTES}.tmp"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the file system inside say which file they are about: a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        # one that Python or a library made out of a text has no number, and shows that text alone
        if error.errno is None:
            raise OSError(None, str(error), str(path)) from error
        if error.filename is None:
            error.filename = str(path)
        raise


def _fsync(path: Path) -> None:
    """Make what a file holds, or the names in a folder, survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, parts: Iterable[bytes | bytearray | memoryview], *, sync: bool = True) -> None:
    """Write a file that readers see whole or not at all; of two writers, on whatever machines, the last one's is there."""
    put_in_place(write_temporary(path, parts), path, sync=sync)


def create_once(path: Path, parts: Iterable[bytes | bytearray | memoryview], *, sync: bool = True) -> bool:
    """Like `write_atomically`, but a file that is there already stays: of several writers, the first one's is there.

    It needs no lock, but hard links, which a file system without locks usually has. Where it has neither, and two write in the
    same instant, each may believe to have been the first.

    Returns:
        Whether the file there is the one that this call wrote.
    """
    temporary = write_temporary(path, parts)
    try:
        if sync:
            _fsync(temporary)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        if path.exists():
            return False
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if sync:
        _fsync(path.parent)
    return True


def write_temporary(path: Path, parts: Iterable[bytes | bytearray | memoryview]) -> Path:
    """The first half of `write_atomically`: everything is written, under the name that is returned.

    The name is drawn, so that no two writers share it. One that is killed leaves its file behind; see `clear_temporaries`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(_TOKEN_BYTES)}.tmp")
    try:
        with naming(path), open(temporary, "xb", _BUFFER_BYTES) as file:
            for part in parts:
                file.write(part)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def put_in_place(temporary: Path, path: Path, *, sync: bool = True) -> None:
    """The second half of `write_atomically`."""
    try:
        if sync:
            _fsync(temporary)
        os.replace(temporary, path)
    except FileNotFoundError:
        # a run that found everything in place has cleared the temporaries: another one has written the same
        if not path.exists():
            raise
    if sync:
        _fsync(path.parent)


def clear_temporaries(folder: Path, *, is_deep: bool = True) -> None:
    """Remove what killed writers left of the files of a folder, all of which must be in place; with those below, if deep."""
    for path in folder.rglob(_TEMPORARY) if is_deep else folder.glob(_TEMPORARY):
        path.unlink(missing_ok=True)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """A file of `numpy.load`, without pickle."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def to_json(data: Mapping[str, Any] | msgspec.Struct) -> bytes:
    """Readable JSON with a newline at the end; typed records inside it are written as objects."""
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, default=msgspec.to_builtins) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_bytes())
    return data
