"""Stores with a log: everything that it names, and that the records name which it names, by size and digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from actlas.errors import raise_shortage
from actlas.store import layout
from actlas.store.files.digests import FileRecord, digest
from actlas.store.files.shard_reader import damaged_chunks
from actlas.store.integrity.groups import KnownMetadata, committed_arrays, group_faults, plain_group_faults
from actlas.store.integrity.manifests import Manifest, read_manifests, uncovered_texts
from actlas.store.integrity.strays import stray_faults
from actlas.store.integrity.tables import corpus_faults, record_table_faults, table_faults
from actlas.store.log import FOLDER, LogState
from actlas.store.records import ShardRecord
from actlas.store.store import Store

Progress = Callable[[int, int], None]

#: Files that are read at the same time: hashing takes a core, and disks serve several.
_READERS = 4


#: Folders of arrays.
_ARRAYS = ("cubes", "tokens", "counts", "states", "scores")


class _Names(msgspec.Struct, frozen=True):
    """What a record names."""

    files: tuple[FileRecord, ...] = ()
    shards: tuple[ShardRecord, ...] = ()


class Found(NamedTuple):
    """What was found: shards, bytes that were read, and one line per fault."""

    n_shards: int
    n_bytes: int
    faults: list[str]


@dataclass
class Contents:
    """The files of a store as its log has them.

    Attributes:
        files: Path -> size and digest.
        shards: The same, with the sums of their chunks.
        unknown: Folders of records that are damaged, so that what they named is not known.
        faults: One line per file that is not what was committed.
        n_bytes: Bytes that were read.
    """

    files: dict[str, FileRecord] = field(default_factory=dict)
    shards: dict[str, ShardRecord] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    n_bytes: int = 0

    @property
    def named(self) -> list[str]:
        return [*self.files, *self.shards]


def verify_logged(store: Store, state: LogState, progress: Progress | None) -> Found:
    """Verify a store with a log. What its files say is compared only where they are what was committed."""
    contents = read_contents(store.path, state, progress)
    faults = [*contents.faults, *mark_faults(store.path, state)]
    of_begun: list[str] = []
    manifests = read_manifests(store.path, (), of_begun)
    known = {fault.partition(":")[0] for fault in faults}
    faults += [fault for fault in of_begun if fault.partition(":")[0] not in known]
    named = {*contents.named, *log_files(state), *state.retired}
    leaves = {f"{folder}/zarr.json" for folder in layout.OTHER_FILES}
    # of format 1 the folders of other files are no groups
    groups = leaves if store.about["format"] > 1 else set()
    groups = groups | {f"{folder}/zarr.json" for path in named for folder in _folders_of_groups(path)}
    faults += plain_group_faults(store.path, sorted(groups))
    for manifest in manifests:
        if f"checkpoints/{manifest.checkpoint}" in state.holds and manifest.record is not None:
            named |= {f"{manifest.path}/{file}" for file in manifest.record.tables}
            faults += [fault for fault in record_table_faults(store.path, manifest) if fault.partition(":")[0] not in known]
    begun = [folder for manifest in manifests for folder in _unfinished(manifest, state)]
    named |= groups | leaves
    faults += stray_faults(store.path, named, [*begun, *(folder for one in contents.unknown for folder in _of_records(one))])
    if not faults:
        faults += _contradictions(store, state)
    return Found(len(contents.shards), contents.n_bytes, faults)


def _contradictions(store: Store, state: LogState) -> Iterator[str]:
    """What records say of each other and of what they stand for that cannot be, in a store all of whose files are whole."""
    yield from corpus_faults(store)
    yield from table_faults(store)
    found: list[str] = []
    known = KnownMetadata(store.path)
    manifests = [
        committed for one in read_manifests(store.path, store.corpus.languages, found) if (committed := _logged(one, state))
    ]
    yield from found
    for manifest in manifests:
        yield from uncovered_texts(manifest, store.corpus.n_texts)
        shards = {shard.path for _, shard in manifest.shards()}
        for array in committed_arrays(store, manifest):
            plan = known.plan(array.path)
            if plan is None:
                yield f"{array.path}/zarr.json: not the metadata of an array"
                continue
            yield from array.faults(plan)
            yield from (f"{shard}: no record names it" for shard in array.shards(plan) if shard not in shards)
    if store.about["format"] > 1:
        yield from group_faults(store, manifests, known)


def _logged(manifest: Manifest, state: LogState) -> Manifest | None:
    """A manifest without what the log does not hold; None where it does not hold the checkpoint."""
    if f"checkpoints/{manifest.checkpoint}" not in state.holds:
        return None
    named = {file.path.rpartition("/")[0] for files in state.holds.values() for file in files}
    return replace(manifest, scores={path: scores for path, scores in manifest.scores.items() if scores.path in named})


def _unfinished(manifest: Manifest, state: LogState) -> Iterator[str]:
    """Folders that a run may be writing into: of checkpoints and scores that were begun and are not in the log."""
    if f"checkpoints/{manifest.checkpoint}" not in state.holds and manifest.is_begun:
        yield from _of_records(manifest.path)
    named = {file.path.rpartition("/")[0] for files in state.holds.values() for file in files}
    for path, scores in manifest.scores.items():
        if scores.path not in named and manifest.is_begun:
            yield from (path, scores.path)


def _folders_of_groups(path: str) -> list[str]:
    """The folders above the groups of a checkpoint, by a file in one of these."""
    kind, *rest = path.split("/")
    return [kind, f"{kind}/{rest[0]}"] if kind in _ARRAYS else []


def _of_records(folder: str) -> Iterator[str]:
    """The folders whose files the records in a folder name."""
    _, checkpoint, *rest = folder.split("/")
    if rest:
        yield f"scores/{checkpoint}/{rest[1]}"
    else:
        yield from (f"{kind}/{checkpoint}" for kind in _ARRAYS if kind != "scores")
    yield folder


def read_contents(root: Path, state: LogState, progress: Progress | None) -> Contents:
    """Read every file that a log names, directly or by a record.

    Args:
        root: Folder of the store.
        state: What the log says that it holds.
        progress: Called with (files done, files in all).
    """
    found = Contents({file.path: file for files in state.holds.values() for file in files})
    records = [path for path in found.files if path.startswith("manifests/") and path.endswith(".json")]
    for path in records:
        names = _names_in(root, found.files[path])
        if names is None:
            found.unknown.append(path.rpartition("/")[0].removesuffix("/blocks"))
        else:
            found.files |= {file.path: file for file in names.files}
            found.shards |= {shard.path: shard for shard in names.shards}
    expected = {
        **found.files,
        **{shard.path: FileRecord(shard.path, shard.n_bytes, shard.digest or "") for shard in found.shards.values()},
    }
    with ThreadPoolExecutor(_READERS, thread_name_prefix="actlas-verify") as pool:
        for done, (path, fault) in enumerate(
            zip(expected, pool.map(partial(fault_of, root), expected.values()), strict=True), start=1
        ):
            found.n_bytes += expected[path].n_bytes
            if fault is not None:
                found.faults += _chunk_faults(root, found.shards.get(path)) or [f"{path}: {fault}"]
            if progress is not None:
                progress(done, len(expected))
    return found


def fault_of(root: Path, record: FileRecord) -> str | None:
    """What is wrong with a file; None where it is the one that was committed."""
    try:
        data = (root / record.path).read_bytes()
    except OSError as error:
        raise_shortage(error)
        return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
    if len(data) != record.n_bytes:
        return f"{len(data):,} bytes, {record.n_bytes:,} were committed"
    return None if digest(data) == record.digest else "it does not hold what was committed"


def _chunk_faults(root: Path, shard: ShardRecord | None) -> list[str]:
    """What is wrong with a shard, in more detail; nothing where its array cannot tell."""
    plan = None if shard is None else KnownMetadata(root).plan(shard.path.rpartition("/c/")[0])
    try:
        return [] if shard is None or plan is None else list(damaged_chunks(root, shard, plan))
    except OSError as error:
        raise_shortage(error)
        return []


def log_files(state: LogState) -> Iterator[str]:
    """The files of the log itself."""
    for number in range(1, state.number + 1):
        yield from (f"{FOLDER}/{number:08d}.{kind}" for kind in ("json", "mark"))


def mark_faults(root: Path, state: LogState) -> Iterator[str]:
    """Marks that are not those of the entries beside them. Reading the log compares only the last one."""
    for number in range(1, state.number + 1):
        entry, mark = (root / FOLDER / f"{number:08d}.{kind}" for kind in ("json", "mark"))
        if mark.exists() and mark.read_bytes() != f"{digest(entry.read_bytes())}\n".encode():
            yield f"{FOLDER}/{mark.name}: not the mark of the entry beside it"
        elif not mark.exists() and number < state.number:
            yield f"{FOLDER}/{mark.name}: missing"
        elif not mark.exists():
            # nothing is lost by it, but without it the loss of the entry could not be told
            yield f"{FOLDER}/{mark.name}: missing, or the last to write was stopped before it; the next that writes puts it there"


def _names_in(root: Path, record: FileRecord) -> _Names | None:
    """What a record names; None where it is not what was committed."""
    try:
        data: Any = (root / record.path).read_bytes()
        return msgspec.json.decode(data, type=_Names) if digest(data) == record.digest else None
    except (OSError, msgspec.MsgspecError) as error:
        raise_shortage(error)
        return None
