"""Giving a store of an earlier version a log, and digests of all its files: `actlas upgrade`.

No record is replaced that something complete stands on, so that kept answers go on standing on what they were made of: what
their files are told by is written beside them, into `digests.json`. All of that counts for nothing until the last step, which
makes the store's own zarr.json say that there is a log. Stopped before, the store is what it was, and the next attempt starts
at the beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actlas.errors import DamagedStore, StoreError
from actlas.store.committed import checkpoint_name
from actlas.store.contents.parts import Tables, part_name
from actlas.store.files.atomic import read_json, to_json, write_atomically
from actlas.store.files.digests import FileRecord, file_record, record_files
from actlas.store.files.group_writer import create_leaf
from actlas.store.files.locks import Claim, writers_claim
from actlas.store.files.shard_reader import shard_faults, told_apart
from actlas.store.integrity.groups import committed_arrays
from actlas.store.integrity.manifests import LayerRecord, Manifest, ScoreManifest
from actlas.store.integrity.unlogged import Unlogged
from actlas.store.layout import ArrayPlan
from actlas.store.log import FOLDER, Change, Log
from actlas.store.records import DIGESTS, BlockRecord, DigestRecord, ShardRecord
from actlas.store.store import Store
from actlas.store.write.joining import creation_claim
from actlas.store.write.state_writer import in_states

#: Faults that a refusal names; `actlas verify` names all.
_FAULTS_NAMED = 3


@dataclass(frozen=True)
class Upgraded:
    """What `upgrade` did.

    Attributes:
        had_log: Whether the store had a log already, so that there was nothing to do.
        n_shards: Shards that were read.
        n_bytes: Their size.
    """

    had_log: bool
    n_shards: int = 0
    n_bytes: int = 0


def upgrade(path: Path | str, progress: Callable[[int, int, int], None] | None = None) -> Upgraded:
    """Give a store of an earlier version a log, in which every file is named with its digest. Its format and values stay.

    It reads every shard once and compares it with its record as it is. It may be stopped at any moment and run again.

    Args:
        path: Folder of the store.
        progress: Called with (shards done, shards in all, bytes read).

    Returns:
        What was read. A store that has a log is left as it is.

    Raises:
        StoreNotFound: If there is no store at the path.
        DamagedStore: If a file is not what its record says; the store is left as it was.
        StoreError: If a run is writing into it.

    Example:
        >>> from actlas.testing import planted_store
        >>> upgrade(planted_store(folder / "own.actlas"))
        Upgraded(had_log=True, n_shards=0, n_bytes=0)
    """
    path = Path(path)
    if Store(path).log is not None:
        return Upgraded(had_log=True)
    with _alone(path):
        store = Store(path)
        if store.log is not None:
            return Upgraded(had_log=True)
        reading = _Reading(store, progress)
        reading.check()
        _Upgrade(store, reading).write()
        return Upgraded(False, len(reading.records), reading.n_bytes)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep everyone else from writing into a store.

    Raises:
        StoreError: If someone does.
    """
    own = (creation_claim(path), writers_claim(path))
    with ExitStack() as held:
        for file in (*own, *sorted({*(path / "manifests").rglob("*.claim")} - {*own})):
            claim = Claim.take(file)
            if claim is None:
                raise StoreError(f"a run is writing into {path} ({file.relative_to(path)}); upgrade it once that has ended")
            # those of blocks and scores are only looked at: a run that wants one joins the writers, and so waits for us
            if file in own:
                held.enter_context(claim)
            else:
                claim.release()
        yield


class _Reading(Unlogged):
    """Verifies a store without a log, and notes of every shard what it is to be told by.

    Attributes:
        records: Path of a shard -> its record, with digest and sums.
        n_bytes: Bytes of shards that were read.
    """

    def __init__(self, store: Store, progress: Callable[[int, int, int], None] | None) -> None:
        super().__init__(store)
        self.records: dict[str, ShardRecord] = {}
        self.n_bytes = 0
        self._progress = progress
        for manifest in self.manifests:
            if not manifest.is_complete:
                self._add_states(manifest)

    def _add_states(self, manifest: Manifest) -> None:
        """Blocks that count because they are in states, and whose owner died before it wrote their record."""
        try:
            for index, record in in_states(self.store.path / manifest.path).items():
                manifest.blocks.setdefault(index, record)
        except (ValueError, TypeError, LookupError) as error:
            self.faults.append(f"{manifest.path}/states: not readable ({' '.join(str(error).split())})")

    def check(self) -> None:
        """Read the store.

        Raises:
            DamagedStore: If it is not what its records say.
        """
        root, progress = self.store.path, self._progress
        if (root / FOLDER / "00000003.json").exists():
            # an upgrade writes two entries before the store has a log
            raise DamagedStore(f"{root / 'zarr.json'} says nothing of the log beside it; put a whole copy of the file back")
        self.run(None if progress is None else lambda done, of: progress(done, of, self.n_bytes))
        faults = list(dict.fromkeys(self.faults))
        if faults:
            more = f" and {len(faults) - _FAULTS_NAMED:,} more" if len(faults) > _FAULTS_NAMED else ""
            raise DamagedStore(
                f"{root} is damaged, and stays as it is: {'; '.join(faults[:_FAULTS_NAMED])}{more}. actlas verify names all "
                "that is damaged; put whole copies of the files back, and upgrade it then"
            )

    def _damaged(self, shard: ShardRecord, plan: ArrayPlan) -> Iterator[str]:
        try:
            data = (self.store.path / shard.path).read_bytes()
        except OSError:
            yield from super()._damaged(shard, plan)
            return
        self.n_bytes += len(data)
        faults = list(shard_faults(data, shard, plan))
        yield from faults
        if not faults:
            self.records[shard.path] = told_apart(data, shard, plan)


class _Upgrade:
    """Writes what a store without a log needs to have one."""

    def __init__(self, store: Store, reading: _Reading) -> None:
        self._root, self._format, self._about = store.path, store.about["format"], store.about
        self._manifests, self._records = reading.manifests, reading.records
        #: folder of the arrays of a site -> its files that are no shards
        self._small: dict[str, list[str]] = {}
        for manifest in self._manifests:
            for array in committed_arrays(store, manifest):
                folder = "/".join(array.path.split("/")[:3])
                if folder not in self._small:
                    self._small[folder] = sorted(self._small_files(folder))

    def _small_files(self, folder: str) -> Iterator[str]:
        for file in (self._root / folder).rglob("*"):
            path = file.relative_to(self._root).as_posix()
            if path not in self._records and file.suffix != ".tmp" and file.is_file():
                yield path

    def write(self) -> None:
        """Digests first, then the log that names them, and at last the store's zarr.json, which makes the log count."""
        adds = dict(added for manifest in self._manifests for added in self._contents(manifest))
        for part, file in Tables(self._root, None).parts().items():
            adds[part_name(part)] = self._files(file.relative_to(self._root).as_posix())
        root = read_json(self._root / "zarr.json")
        root["attributes"]["actlas"]["log"] = True
        data = to_json(root)
        if self._format > 1:
            create_leaf(self._root, FOLDER)
        corpus = sorted(path.relative_to(self._root).as_posix() for path in (self._root / "corpus").glob("*.parquet"))
        log = Log(self._root)
        log.begin((file_record("zarr.json", data), *self._files(*corpus)))
        if adds:
            log.append(lambda _: Change(adds))
        write_atomically(self._root / "zarr.json", [data])

    def _files(self, *paths: str) -> tuple[FileRecord, ...]:
        return record_files(self._root, paths)

    def _contents(self, manifest: Manifest) -> Iterator[tuple[str, tuple[FileRecord, ...]]]:
        """What there is of a checkpoint, by its name in the log."""
        folder, record = manifest.path, manifest.record
        blocks = {f"{folder}/blocks/{number:06d}.json": block for number, block in sorted(manifest.blocks.items())}
        if record is None:
            for path, block in blocks.items():
                self._replace(path, block)
        else:
            shards = [*record.shards, *(shard for block in blocks.values() for shard in block.shards)]
            groups = [group for group in self._small if group.split("/")[1] == manifest.checkpoint]
            # scores have records of their own, for they may be replaced
            self._write_digests(folder, shards, (group for group in groups if not group.startswith("scores/")))
            names = [f"{folder}/checkpoint.json", f"{folder}/begun.json", *blocks]
            names += [f"{folder}/{file}" for file in record.tables]
            yield checkpoint_name(manifest.checkpoint), self._files(*names, f"{folder}/{DIGESTS}")
        for path, scores in manifest.scores.items():
            layers = {f"{scores.path}/layer-{number:04d}.json": layer for number, layer in sorted(scores.layers.items())}
            if not scores.is_done:
                for file, layer in layers.items():
                    self._replace(file, layer)
            else:
                yield path, self._scores(path, scores, layers)

    def _scores(self, path: str, scores: ScoreManifest, layers: dict[str, LayerRecord]) -> tuple[FileRecord, ...]:
        self._write_digests(scores.path, [shard for layer in layers.values() for shard in layer.shards], [path])
        names = (f"{scores.path}/settings.json", *layers, f"{scores.path}/done.json", f"{scores.path}/{DIGESTS}")
        return self._files(*names)

    def _write_digests(self, folder: str, shards: Iterable[ShardRecord], groups: Iterable[str]) -> None:
        """Write what the files that the records in a folder name are told by."""
        small = [file for group in groups for file in self._small[group]]
        record = DigestRecord(tuple(self._records[shard.path] for shard in shards), self._files(*small))
        write_atomically(self._root / folder / DIGESTS, [to_json(record)])

    def _replace(self, path: str, record: BlockRecord | LayerRecord) -> None:
        """Replace a record of what is not complete, on which nothing stands yet: its run goes on with it."""
        file = self._root / path
        said = read_json(file) if file.exists() else msgspec.to_builtins(record)
        data = to_json({**said, "shards": [self._records[shard.path] for shard in record.shards]})
        if not file.exists() or file.read_bytes() != data:
            write_atomically(file, [data])
