"""Files that belong together, published in one step and checked when they are read.

A record (a JSON file) names every file with its size and a digest of its content. New files are first written beside the old
ones; the record, replaced in one rename, makes them the ones that count; only then do they take their names. Whatever kills the
writer, a reader finds the files that the record names, all of them old or all of them new.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from actlas.errors import DamagedStore, raise_shortage
from actlas.store.files.atomic import clear_temporaries, put_in_place, to_json, write_atomically

_WAITING = ".next"
#: Times that a reader looks again while writers replace what it reads.
_TRIES = 5


def file_entry(data: bytes) -> dict[str, Any]:
    """Size and digest of a file, as a record keeps them.

    Example:
        >>> file_entry(b"water")
        {'n_bytes': 5, 'xxh3_128': '...'}
    """
    return {"n_bytes": len(data), "xxh3_128": xxhash.xxh3_128_hexdigest(data)}


def checked_bytes(path: Path, entry: Mapping[str, Any]) -> bytes:
    """The content of a file.

    Raises:
        DamagedStore: If the file is missing, or does not hold what `file_entry` described.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise_shortage(error)
        raise DamagedStore(f"{path} is missing or cannot be read ({error.strerror})") from error
    if len(data) != entry["n_bytes"]:
        raise DamagedStore(f"{path} holds {len(data):,} bytes, and its record says {entry['n_bytes']:,}")
    if file_entry(data) != entry:
        raise DamagedStore(f"{path} does not hold what was written: its digest is another one than its record says")
    return data


def publish(folder: Path, record: str, about: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Replace the files of a folder, and the record that names them, in one step.

    Args:
        folder: Made where it is not there.
        record: Name of the record.
        about: What else the record says.
        files: Name -> content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = {name: file_entry(data) for name, data in files.items()}
    content = {**about, "files": entries}
    content["xxh3_128"] = _record_digest(content)
    with _only_writer(folder):
        try:
            for name, data in files.items():
                write_atomically(_waiting(folder, name, entries[name]), [data])
            write_atomically(folder / record, [to_json(content)])
        except BaseException:
            # nothing was published, unless an interrupt came just behind the record: then its files must stay
            if not _is_record(folder / record, content):
                _clear_waiting(folder)
            raise
        for name, entry in entries.items():
            put_in_place(_waiting(folder, name, entry), folder / name)
        _clear_waiting(folder)
        clear_temporaries(folder, is_deep=False)


def read_published(folder: Path, record: str, names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `publish` left: the record, and the files that it names.

    Args:
        folder: Where.
        record: Name of the record, which must be there.
        names: The files wanted. A record of an earlier version names none; its files are read as they are.

    Raises:
        DamagedStore: If the record or a file is not what was written.
    """
    for attempt in range(_TRIES):
        written = (folder / record).read_bytes()
        about = _record(folder / record, written)
        entries = about.get("files")
        try:
            return about, {name: _content(folder, name, None if entries is None else entries[name]) for name in names}
        except DamagedStore:
            # another record by now: a writer has replaced what was being read
            if attempt == _TRIES - 1 or (folder / record).read_bytes() == written:
                raise
    raise AssertionError("the last attempt returns or raises")


def _content(folder: Path, name: str, entry: Mapping[str, Any] | None) -> bytes:
    if entry is None:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise_shortage(error)
            raise DamagedStore(f"{folder / name} is missing or cannot be read ({error.strerror})") from error
    with suppress(DamagedStore):
        return checked_bytes(folder / name, entry)
    with suppress(DamagedStore):
        # its writer was killed between the record and the last rename
        return checked_bytes(_waiting(folder, name, entry), entry)
    return checked_bytes(folder / name, entry)


def _record(path: Path, data: bytes) -> dict[str, Any]:
    try:
        about = json.loads(data)
    except ValueError as error:
        raise DamagedStore(f"{path} is not valid JSON: {error}") from error
    if not isinstance(about, dict):
        raise DamagedStore(f"{path} holds no object")
    if "files" in about and about.get("xxh3_128") != _record_digest(about):
        raise DamagedStore(f"{path} does not hold what was written: its digest is another one than it says")
    return about


def _record_digest(about: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(to_json({name: value for name, value in about.items() if name != "xxh3_128"}))


def _is_record(path: Path, content: Mapping[str, Any]) -> bool:
    try:
        return path.read_bytes() == to_json(content)
    except OSError:
        return False


def _clear_waiting(folder: Path) -> None:
    for left in folder.glob(f"*{_WAITING}"):
        left.unlink(missing_ok=True)


def _waiting(folder: Path, name: str, entry: Mapping[str, Any]) -> Path:
    return folder / f"{name}.{entry['xxh3_128']}{_WAITING}"


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """One writer after the other, on file systems that have locks; the folder itself is locked, so that no file stays behind."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
