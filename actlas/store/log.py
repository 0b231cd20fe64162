"""The commit log: what a store holds, in files that are created once and never replaced.

``log/00000001.json`` and so on. Each entry names the digest of the one before it, what it adds to the store, with every file
that this consists of, and what it takes out. What no entry names is not there, whatever lies in the folders; what an entry names
has to be there. Two writers that want one number exclude each other by creating the file: the second reads what the first wrote
and takes the next number. No lock is needed, and nothing is replaced.

The chain protects every entry but the last. So a second file, ``log/00000001.mark``, follows each entry and names its digest: a
store whose last entry was lost does not pass for an older one. A writer that is killed between the two leaves a whole store, and
the next one writes the mark.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from actlas.errors import DamagedStore, StoreError, raise_shortage
from actlas.store.files.atomic import create_once, read_json, to_json, write_atomically
from actlas.store.files.digests import FileRecord, digest

FOLDER = "log"
_NAME = re.compile(r"(\d{8})\.(json|mark)")

#: What is in a store -> the files that it consists of, as they were named when it was added.
Holdings = dict[str, tuple[FileRecord, ...]]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """One step in the life of a store.

    Attributes:
        number: From 1, without gaps.
        previous: Digest of the bytes of the entry before it; None for the first.
        adds: Name of what is there from now on -> all of its files. It takes the place of what had the name.
        retires: Names of what is not there any more.
    """

    number: int
    previous: str | None
    adds: dict[str, tuple[FileRecord, ...]] = {}
    retires: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """What an entry is to say, see `Entry`."""

    adds: Mapping[str, Sequence[FileRecord]] = {}
    retires: Sequence[str] = ()


class LogState(msgspec.Struct, frozen=True, eq=False):
    """What a store holds as of one entry.

    Attributes:
        number: Of that entry.
        digest: Of that entry.
        holds: Name -> files.
        n_added: Name -> how often it was ever added, also where it is not there any more.
        retired: Paths of files that were named once and are not any more, whether they are still there or not.
    """

    number: int = 0
    digest: str | None = None
    holds: Holdings = {}
    n_added: dict[str, int] = {}
    retired: frozenset[str] = frozenset()

    def names(self, kind: str) -> list[str]:
        """What there is of a kind, such as "checkpoints", in the order in which it was added."""
        return [name for name in self.holds if name.startswith(f"{kind}/")]


class Log:
    """The log of one store. It is read whole once; after that, only what was added.

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._folder = root, root / FOLDER
        self._state = LogState()
        self._lock = threading.Lock()

    def read(self) -> LogState:
        """What the store holds now: the same object while nothing was committed.

        Raises:
            DamagedStore: If entries are missing, unreadable, or do not follow from each other.
        """
        with self._lock:
            known = self._state
            last = known.number
            if last == 0:
                last = self._last_number()
            else:
                while os.path.exists(self._path(last + 1)):
                    last += 1
            if last > known.number:
                self._state = self._advanced(known, last)
            return self._state

    def append(self, decide: Callable[[LogState], Change | None], *, sync: bool = True) -> LogState:
        """Add an entry.

        Args:
            decide: Says what to change, given what the store holds; asked again where another writer was first. None changes
                nothing.
            sync: Whether to flush it to disk.

        Returns:
            What the store holds with it.
        """
        while True:
            state = self.complete(sync=sync)
            change = decide(state)
            if change is None:
                return state
            adds = {name: tuple(files) for name, files in change.adds.items()}
            number, data = state.number + 1, _bytes_of(Entry(state.number + 1, state.digest, adds, tuple(change.retires)))
            if create_once(Path(self._path(number)), [data], sync=sync):
                create_once(Path(self._path(number, "mark")), [_mark(digest(data))], sync=sync)
                return self.read()

    def complete(self, *, sync: bool = True) -> LogState:
        """What the store holds, once its last entry has a mark, also where its writer was killed before it could write it."""
        state = self.read()
        mark = self._path(state.number, "mark")
        if state.digest is not None and not os.path.exists(mark):
            create_once(Path(mark), [_mark(state.digest)], sync=sync)
        return state

    def begin(self, files: Sequence[FileRecord], *, sync: bool = True) -> None:
        """Write the first entry of a store that is not one yet, over what was left of an earlier attempt."""
        if self._folder.is_dir():
            for name in os.listdir(self._folder):
                if _NAME.fullmatch(name) and not name.startswith("00000001."):
                    (self._folder / name).unlink(missing_ok=True)
        data = _bytes_of(Entry(1, None, {"store": tuple(files)}))
        Path(self._path(1, "mark")).unlink(missing_ok=True)
        write_atomically(Path(self._path(1)), [data], sync=sync)
        create_once(Path(self._path(1, "mark")), [_mark(digest(data))], sync=sync)

    def _path(self, number: int, kind: str = "json") -> str:
        return f"{self._folder}/{number:08d}.{kind}"

    def _last_number(self) -> int:
        """Number of the last entry, all of which have to be there."""
        try:
            found = [match for name in os.listdir(self._folder) if (match := _NAME.fullmatch(name))]
        except OSError as error:
            raise_shortage(error)
            raise DamagedStore(f"{self._folder}, which says what the store holds, cannot be read ({error.strerror})") from error
        entries = {int(match[1]) for match in found if match[2] == "json"}
        last = max((int(match[1]) for match in found), default=1)
        missing = sorted(set(range(1, last + 1)) - entries)
        if missing:
            raise DamagedStore(f"{self._path(missing[0])} is missing, so what the store holds is not known. {_WHAT_TO_DO}")
        return last

    def _advanced(self, state: LogState, last: int) -> LogState:
        holds, n_added, retired, known = dict(state.holds), dict(state.n_added), set(state.retired), state.digest
        for number in range(state.number + 1, last + 1):
            data = self._content(number)
            entry = self._entry(number, data)
            if entry.number != number or entry.previous != known:
                raise DamagedStore(f"{self._path(number)} does not follow from {self._path(number - 1)}. {_WHAT_TO_DO}")
            for name in (*entry.retires, *entry.adds):
                retired.update(file.path for file in holds.pop(name, ()))
            holds.update(entry.adds)
            retired.difference_update(file.path for files in entry.adds.values() for file in files)
            for name in entry.adds:
                n_added[name] = n_added.get(name, 0) + 1
            known = digest(data)
        mark = Path(self._path(last, "mark"))
        if mark.exists() and mark.read_bytes() != _mark(known):
            raise DamagedStore(f"{self._path(last)} is not the entry that {mark} names. {_WHAT_TO_DO}")
        return LogState(last, known, holds, n_added, frozenset(retired))

    def _content(self, number: int) -> bytes:
        try:
            return Path(self._path(number)).read_bytes()
        except OSError as error:
            raise_shortage(error)
            raise DamagedStore(f"{self._path(number)} cannot be read ({error.strerror})") from error

    def _entry(self, number: int, data: bytes) -> Entry:
        try:
            return msgspec.json.decode(data, type=Entry)
        except (ValueError, TypeError) as error:
            raise DamagedStore(f"{self._path(number)} is no entry of a log ({error}). {_WHAT_TO_DO}") from error


def has_log(about: Mapping[str, object]) -> bool:
    """Whether what a store says of itself says that it has a log; those of earlier versions do not."""
    return bool(about.get("log"))


def check_unlogged(root: Path) -> None:
    """Refuse to write into a store as one without a log once it has one.

    Raises:
        StoreError: If it was upgraded since it was opened.
    """
    file = root / "zarr.json"
    if file.exists() and has_log(read_json(file)["attributes"].get("actlas", {})):
        raise StoreError(f"{root} was upgraded since it was opened; open it again")


def _bytes_of(entry: Entry) -> bytes:
    return to_json(msgspec.to_builtins(entry))


def _mark(entry_digest: str | None) -> bytes:
    return f"{entry_digest}\n".encode()


_WHAT_TO_DO = "Put a whole copy of the folder log back: it is small and no file of it ever changes"
