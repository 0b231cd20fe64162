"""Stores of earlier versions, without a log: compared as far as their records go.

Their records name shards alone, by sums that do not tell all shards apart. What else there is can only be compared with what it
has to agree in. `actlas upgrade` gives such a store a log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from actlas.errors import DamagedStore, raise_shortage
from actlas.store import layout
from actlas.store.files.shard_reader import damaged_chunks
from actlas.store.integrity.groups import KnownMetadata, committed_arrays, group_faults, groups_of, metadata_above
from actlas.store.integrity.logged import Found, Progress
from actlas.store.integrity.manifests import Manifest, read_manifests, uncovered_texts
from actlas.store.integrity.strays import stray_faults
from actlas.store.integrity.tables import corpus_faults, record_table_faults, table_faults
from actlas.store.layout import ArrayPlan
from actlas.store.log import FOLDER
from actlas.store.records import ShardRecord
from actlas.store.store import Store


class Unlogged:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.faults: list[str] = list(corpus_faults(store))
        self.known = KnownMetadata(store.path)
        # without texts nothing can be said of what is about them
        self.has_corpus = not any(fault.startswith((layout.TEXTS, layout.LABELS, layout.SAMPLED_TOKENS)) for fault in self.faults)
        self.manifests = read_manifests(store.path, store.corpus.languages if self.has_corpus else (), self.faults)

    def run(self, progress: Progress | None) -> Found:
        with suppress(DamagedStore):  # a record that cannot be read, which is named
            self.faults += table_faults(self.store)
        self.faults += chain.from_iterable(map(self._uncovered, self.manifests))
        self.faults += chain.from_iterable(record_table_faults(self.store.path, manifest) for manifest in self.manifests)
        n_shards, n_bytes = self._shards(progress)
        named = set(self._named())
        if self.has_corpus:
            if self.store.about["format"] > 1:
                self.faults += group_faults(self.store, self.manifests, self.known)
            # an upgrade that was stopped leaves a log that does not count yet
            unfinished = [FOLDER, *(folder for manifest in self.manifests for folder in unfinished_folders(manifest))]
            self.faults += stray_faults(self.store.path, named, unfinished)
        return Found(n_shards, n_bytes, self.faults)

    def _shards(self, progress: Progress | None) -> tuple[int, int]:
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
            raise_shortage(error)
            yield f"{shard.path}: cannot be read ({error.strerror})"

    def _named(self) -> Iterator[str]:
        """The files that have to be there."""
        root = self.store.path
        yield from (layout.TEXTS, layout.LABELS, layout.TOKEN_IDS, layout.SAMPLED_TOKENS, layout.STATE_SETS)
        yield from (f"{folder}/zarr.json" for folder in layout.OTHER_FILES)
        checkpoints = {manifest.checkpoint for manifest in self.manifests}
        for part in (root / "tables").rglob("checkpoint=*/part.parquet"):
            if layout.partition_of(part) in checkpoints:
                yield str(part.relative_to(root))
        for manifest in self.manifests:
            if manifest.record is not None:
                yield from (f"{manifest.path}/{file}" for file in manifest.record.tables)
            yield from (str(file.relative_to(root)) for file in (root / manifest.path).rglob("*.json"))
            yield from (shard.path for _, shard in manifest.shards())
            if self.has_corpus:
                yield from self._named_arrays(manifest)

    def _named_arrays(self, manifest: Manifest) -> Iterator[str]:
        """Metadata and coordinates of the arrays of a checkpoint; what they say that cannot be is added to the faults."""
        shards, has_all_blocks = {shard.path for _, shard in manifest.shards()}, not list(self._uncovered(manifest))
        for array in committed_arrays(self.store, manifest):
            yield from metadata_above(array.path)
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

    def _uncovered(self, manifest: Manifest) -> Iterator[str]:
        if manifest.is_complete and self.has_corpus:
            yield from uncovered_texts(manifest, self.store.corpus.n_texts)


def unfinished_folders(manifest: Manifest) -> Iterator[str]:
    """Folders that a run may be writing into."""
    if not manifest.is_complete:
        yield from (f"{kind}/{manifest.checkpoint}" for kind in ("cubes", "tokens", "counts", "states"))
        yield manifest.path
    yield from (path for path, scores in manifest.scores.items() if not scores.is_done)
