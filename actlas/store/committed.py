"""Where a store says what is committed in it: its log, or, in stores of earlier versions, the folders under ``manifests/``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from actlas.store import layout
from actlas.store.files.digests import FileRecord, checked_bytes, stamp
from actlas.store.log import Log, LogState


def checkpoint_name(checkpoint: str) -> str:
    return f"checkpoints/{checkpoint}"


def score_name(checkpoint: str, site: str, pooling: str) -> str:
    return f"scores/{checkpoint}/{site}.{pooling}"


class Committed(Protocol):
    """What is committed in a store: names such as ``checkpoints/model-step1`` or ``scores/model-step1/mlp_pre.max``."""

    def state(self) -> object | None:
        """An object that stays the same while nothing is committed; None where there is none."""
        ...

    def checkpoints(self) -> list[str]:
        """Ids of checkpoints that may be committed, in no order that means anything."""
        ...

    def version(self, name: str) -> object | None:
        """Something that changes with what is committed under a name; None where nothing is."""
        ...

    def folder(self, name: str) -> PurePosixPath:
        """Folder of the records of something that is committed, inside the store."""
        ...

    def contents(self, name: str, pattern: str) -> Iterator[tuple[Path, bytes]]:
        """The records of something that is committed whose paths end like a pattern.

        Raises:
            DamagedStore: If one is not what was committed.
        """
        ...


class Logged:
    """What the log of a store says.

    Args:
        root: Folder of the store.
        log: Its log.
    """

    def __init__(self, root: Path, log: Log) -> None:
        self._root, self.log = root, log

    def state(self) -> LogState:
        return self.log.read()

    def checkpoints(self) -> list[str]:
        return [name.partition("/")[2] for name in self.log.read().names("checkpoints")]

    def version(self, name: str) -> tuple[FileRecord, ...] | None:
        return self.log.read().holds.get(name)

    def folder(self, name: str) -> PurePosixPath:
        return PurePosixPath(self.log.read().holds[name][0].path).parent

    def contents(self, name: str, pattern: str) -> Iterator[tuple[Path, bytes]]:
        for record in self.log.read().holds.get(name, ()):
            if PurePosixPath(record.path).match(pattern):
                yield self._root / record.path, checked_bytes(self._root, record)


class Manifests:
    """What the records of a store without a log say: what its last record is there of is complete.

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # names of files as text: a question asks for hundreds of them, and joining paths would take most of its time
        self._manifests = f"{root}/manifests"

    def state(self) -> None:
        return None

    def checkpoints(self) -> list[str]:
        try:
            with os.scandir(self._manifests) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def version(self, name: str) -> object | None:
        kind, _, rest = name.partition("/")
        return stamp(f"{self._manifests}/{rest}/checkpoint.json" if kind == "checkpoints" else f"{self._path(name)}/done.json")

    def folder(self, name: str) -> PurePosixPath:
        return PurePosixPath(self._path(name)).relative_to(PurePosixPath(str(self._root)))

    def contents(self, name: str, pattern: str) -> Iterator[tuple[Path, bytes]]:
        for path in sorted(Path(self._path(name)).glob(pattern)):
            yield path, path.read_bytes()

    def _path(self, name: str) -> str:
        kind, checkpoint, *rest = name.split("/")
        return f"{self._manifests}/{checkpoint}" + (f"/{kind}/{rest[0]}" if rest else "")


def is_committed(committed: Committed, checkpoint: str) -> bool:
    """Whether a checkpoint is complete and visible."""
    return committed.version(checkpoint_name(checkpoint)) is not None


def score_folder(committed: Committed, name: str) -> str:
    """Folder of the arrays of scores that are committed."""
    checkpoint = name.split("/")[1]
    return f"scores/{checkpoint}/{committed.folder(name).name}"


def generation_folders(name: str, generation: int) -> tuple[str, str]:
    """Folders of the arrays and of the records of scores that are written for the n-th time.

    Example:
        >>> generation_folders("scores/model-step1/mlp_pre.max", 1)
        ('scores/model-step1/mlp_pre.max', 'manifests/model-step1/scores/mlp_pre.max')
        >>> generation_folders("scores/model-step1/mlp_pre.max", 2)[0]
        'scores/model-step1/mlp_pre.max.r2'
    """
    _, checkpoint, what = name.split("/")
    folder = what if generation == 1 else f"{what}.r{generation}"
    return f"scores/{checkpoint}/{folder}", f"{layout.manifest_path(checkpoint)}/scores/{folder}"
