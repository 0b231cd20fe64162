"""`verify`: everything that a store's records name, compared with what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from actlas.errors import DamagedStore
from actlas.store import layout
from actlas.store.files.digests import checked_bytes
from actlas.store.files.shard_reader import damaged_chunks
from actlas.store.health import HEALTH_FILE, file_fault
from actlas.store.layout import ArrayPlan
from actlas.store.records import ShardRecord
from actlas.store.store import Store
from actlas.store.verify.groups import KnownMetadata, committed_arrays, group_faults, groups_of
from actlas.store.verify.manifests import Manifest, read_manifests
from actlas.store.verify.strays import stray_faults
from actlas.store.verify.tables import corpus_faults, table_faults


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        n_shards: Shards whose bytes were read.
        n_bytes: Their size.
        damage: One line per fault, which begins with the path of the file; empty where the store is whole.
    """

    n_shards: int
    n_bytes: int
    damage: tuple[str, ...]


def verify(store: Store | Path | str, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Read every file of a store and compare it with its records, and the records with each other.

    Args:
        store: The store, or its path.
        progress: Called with (shards done, shards in all).

    Returns:
        Counts, and every fault found: it never stops at the first.

    Raises:
        StoreNotFound: If there is no store at the path.
        DamagedStore: If what the store says of itself, in its topmost zarr.json, cannot be read.

    Example:
        >>> result = verify(store)
        >>> result.n_shards > 0, result.damage
        (True, ())
    """
    # what a store that is open has read may be damaged by now
    store = Store(store.path if isinstance(store, Store) else store)
    return _Verifier(store).run(progress)


class _Verifier:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.faults: list[str] = list(corpus_faults(store))
        self.known = KnownMetadata(store.path)
        # without texts nothing can be said of what is about them
        self.has_corpus = not any(fault.startswith((layout.TEXTS, layout.LABELS, layout.SAMPLED_TOKENS)) for fault in self.faults)
        self.manifests = read_manifests(store.path, store.corpus.languages if self.has_corpus else (), self.faults)

    def run(self, progress: Callable[[int, int], None] | None) -> Verified:
        self.faults += table_faults(self.store.path)
        self.faults += chain.from_iterable(map(self._uncovered_texts, self.manifests))
        self.faults += chain.from_iterable(map(self._health_faults, self.manifests))
        n_shards, n_bytes = self._shards(progress)
        named = set(self._named())
        if self.has_corpus:
            if self.store.about["format"] > 1:
                self.faults += group_faults(self.store, self.manifests, self.known)
            unfinished = [folder for manifest in self.manifests for folder in _unfinished(manifest)]
            self.faults += stray_faults(self.store.path, named, unfinished)
        self.faults += self._log_faults()
        return Verified(n_shards, n_bytes, tuple(dict.fromkeys(self.faults)))

    def _log_faults(self) -> Iterator[str]:
        """Files that are not what the log says, where nothing else about them is a fault already."""
        said = {fault.split(":")[0] for fault in self.faults}
        files = () if self.store.log is None else self.store.log.read().holds.values()
        for record in chain.from_iterable(files):
            try:
                checked_bytes(self.store.path, record)
            except DamagedStore as error:
                # of a record that is gone, what it covered is named
                if record.path not in said and record.path.rpartition("/")[0] not in said:
                    yield f"{record.path}: {str(error).removeprefix(str(self.store.path / record.path)).strip()}"

    def _shards(self, progress: Callable[[int, int], None] | None) -> tuple[int, int]:
        shards = [(manifest, shard) for manifest in self.manifests for shard in manifest.shards()]
        n_bytes = 0
        for done, (manifest, (record, shard)) in enumerate(shards, start=1):
            path = shard.path.rpartition("/c/")[0]
            if path.split("/")[1:2] != [manifest.checkpoint] or ".." in path.split("/"):
                self.faults.append(f"{record}: it names {shard.path}, which is no shard of {manifest.checkpoint}")
                continue
            plan = self.known.plan(path)
            if plan is None:
                self.faults.append(f"{path}/zarr.json: not the metadata of an array")
            else:
                self.faults += [f"{line} (record: {record})" for line in self._damaged(shard, plan)]
            n_bytes += shard.n_bytes
            if progress is not None:
                progress(done, len(shards))
        return len(shards), n_bytes

    def _damaged(self, shard: ShardRecord, plan: ArrayPlan) -> Iterator[str]:
        try:
            yield from damaged_chunks(self.store.path, shard, plan)
        except OSError as error:
            yield f"{shard.path}: cannot be read ({error.strerror})"

    def _named(self) -> Iterator[str]:
        """The files that have to be there."""
        root = self.store.path
        yield from (layout.TEXTS, layout.LABELS, layout.TOKEN_IDS, layout.SAMPLED_TOKENS, layout.STATE_SETS)
        yield from (f"{folder}/zarr.json" for folder in layout.OTHER_FILES)
        checkpoints = {manifest.checkpoint for manifest in self.manifests}
        for (_, checkpoint, _), part in self.store.part_files().items():
            if checkpoint in checkpoints:
                yield str(part.relative_to(root))
        for manifest in self.manifests:
            if manifest.record is not None and manifest.record.health_digest is not None:
                yield f"{manifest.path}/{HEALTH_FILE}"
            yield from (str(file.relative_to(root)) for file in (root / manifest.path).rglob("*.json"))
            yield from (shard.path for _, shard in manifest.shards())
            if self.has_corpus:
                yield from self._named_arrays(manifest)

    def _named_arrays(self, manifest: Manifest) -> Iterator[str]:
        """Metadata and coordinates of the arrays of a checkpoint; what they say that cannot be is added to the faults."""
        shards, has_all_blocks = {shard.path for _, shard in manifest.shards()}, not list(self._uncovered_texts(manifest))
        for array in committed_arrays(self.store, manifest):
            yield from _metadata_above(array.path)
            plan = self.known.plan(array.path)
            if plan is None:
                self.faults.append(f"{array.path}/zarr.json: not the metadata of an array")
                continue
            self.faults += array.faults(plan)
            yield from array.shards(plan)
            if has_all_blocks:
                self.faults += [f"{shard}: no record names it" for shard in array.shards(plan) if shard not in shards]
        if self.store.about["format"] > 1:
            for group in groups_of(self.store, manifest, self.known):
                for coordinate in group.coordinates:
                    yield f"{group.path}/{coordinate.name}/zarr.json"
                    yield f"{group.path}/{coordinate.name}/c/0"

    def _health_faults(self, manifest: Manifest) -> Iterator[str]:
        """Whether table `neuron_health` of a checkpoint is the one that its record names."""
        digest = None if manifest.record is None else manifest.record.health_digest
        if (fault := file_fault(self.store.path / manifest.path, digest)) is not None:
            yield f"{manifest.path}/{HEALTH_FILE}: {fault}"

    def _uncovered_texts(self, manifest: Manifest) -> Iterator[str]:
        """Texts that no block of a complete checkpoint covers."""
        if not manifest.is_complete or not self.has_corpus:
            return
        covered, n_texts = 0, self.store.corpus.n_texts
        spans = sorted((block.start, block.stop) for block in manifest.blocks.values())
        for start, stop in [*spans, (n_texts, n_texts)]:
            if start != covered:
                yield f"{manifest.path}/blocks: no commit record for texts {covered:,} to {start:,}"
            covered = stop


def _metadata_above(path: str) -> Iterator[str]:
    """The metadata of an array, and of the groups above it."""
    parts = path.split("/")
    yield from (f"{'/'.join(parts[:n])}/zarr.json" for n in range(1, len(parts) + 1))


def _unfinished(manifest: Manifest) -> Iterator[str]:
    """Folders that a run may be writing into."""
    if not manifest.is_complete:
        yield from (f"{kind}/{manifest.checkpoint}" for kind in ("cubes", "tokens", "counts", "states"))
        yield manifest.path
    yield from (path for path, scores in manifest.scores.items() if not scores.is_done)
