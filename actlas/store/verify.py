"""Is a store what its commit records say? Checksums of every shard and chunk, records that name each other, coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import zarr
from numpy.typing import NDArray

from actlas.errors import DamagedStore
from actlas.store import layout
from actlas.store.files.atomic import read_json
from actlas.store.files.shard_reader import damaged_chunks, plan_of
from actlas.store.groups import ArrayGroup, count_group, cube_group, score_group, state_group, token_group
from actlas.store.layout import VALUES, ArrayPlan
from actlas.store.records import CheckpointRecord, ShardRecord, block_record, read_record, score_manifest, score_record
from actlas.store.store import Store


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        n_shards: Shards whose bytes were read.
        n_bytes: Their size.
        damage: One line per fault; empty where the store is whole.
    """

    n_shards: int
    n_bytes: int
    damage: tuple[str, ...]


def verify(store: Store | Path | str, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Read every committed shard and compare it with its commit record, and every coordinate with what it has to be.

    Args:
        store: The store, or its path.
        progress: Called with (shards done, shards in all).

    Returns:
        Counts, and every fault found: it never stops at the first.

    Raises:
        StoreNotFound: If there is no store at the path.

    Example:
        >>> result = verify(store)
        >>> result.n_shards > 0, result.damage
        (True, ())
    """
    if not isinstance(store, Store):
        store = Store(store)
    damage: list[str] = []
    shards = list(_shards(store, damage))
    damage.extend(_uncovered_texts(store))
    n_bytes = 0
    metadata = _KnownMetadata(store.path)
    for done, shard in enumerate(shards, start=1):
        path = shard.path.rpartition("/c/")[0]
        plan = metadata.plan(path)
        if plan is None:
            damage.append(f"{path}: no readable zarr.json")
        else:
            damage.extend(damaged_chunks(store.path, shard, plan))
        n_bytes += shard.n_bytes
        if progress is not None:
            progress(done, len(shards))
    if store.about["format"] > 1:
        damage.extend(_group_faults(store, metadata))
    return Verified(len(shards), n_bytes, tuple(dict.fromkeys(damage)))


def _shards(store: Store, damage: list[str]) -> Iterator[ShardRecord]:
    """The shards that any record names; records that cannot be read are added to the damage."""
    for path in sorted((store.path / "manifests").rglob("*.json")):
        try:
            yield from read_record(path, _shards_of)
        except DamagedStore as error:
            fault = "not a record" if isinstance(error.__cause__, msgspec.ValidationError) else "not readable as JSON"
            damage.append(f"{path.relative_to(store.path)}: {fault} ({error.__cause__})")


def _shards_of(record: Mapping[str, Any]) -> tuple[ShardRecord, ...]:
    return msgspec.convert(record.get("shards", ()), tuple[ShardRecord, ...])


def _uncovered_texts(store: Store) -> Iterator[str]:
    """Committed checkpoints whose blocks do not cover the texts."""
    for marker in sorted((store.path / "manifests").glob("*/checkpoint.json")):
        spans = []
        for path in sorted((marker.parent / "blocks").glob("*.json")):
            with suppress(DamagedStore):  # named with the shards
                block = read_record(path, block_record)
                spans.append((block.start, block.stop))
        covered = 0
        for start, stop in [*sorted(spans), (store.corpus.n_texts, store.corpus.n_texts)]:
            if start != covered:
                yield f"manifests/{marker.parent.name}: no commit record for texts {covered:,} to {start:,}"
            covered = stop


class _KnownMetadata:
    """Metadata and coordinates of a store as they are read. What has the bytes of something that was read before says the same:
    most arrays share theirs with those of other checkpoints, and opening one with zarr takes longer than reading its shards.

    Args:
        root: Folder of the store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._plans: dict[bytes, ArrayPlan | None] = {}
        self._values: dict[tuple[bytes, bytes], NDArray[Any] | str] = {}

    def plan(self, path: str) -> ArrayPlan | None:
        """Grid of an array; None where its metadata cannot be read."""
        try:
            written = (self.root / path / "zarr.json").read_bytes()
        except OSError:
            return None
        if written not in self._plans:
            try:
                self._plans[written] = plan_of(zarr.open_array(self.root / path, mode="r", zarr_format=3))
            except (FileNotFoundError, ValueError, KeyError):
                self._plans[written] = None
        return self._plans[written]

    def plans(self, group: str, arrays: Sequence[str]) -> dict[str, ArrayPlan]:
        """Grids of those arrays of a group that can be read; the others are named with their shards."""
        plans = {name: self.plan(f"{group}/{name}") for name in arrays}
        return {name: plan for name, plan in plans.items() if plan is not None}

    def coordinate(self, folder: Path) -> NDArray[Any] | str:
        """Values of a coordinate, which are one file; what is wrong, where they cannot be read."""
        if not (folder / "c" / "0").is_file():
            return "its values are missing"
        try:
            written = ((folder / "zarr.json").read_bytes(), (folder / "c" / "0").read_bytes())
            if written not in self._values:
                self._values[written] = np.asarray(zarr.open_array(folder, mode="r", zarr_format=3)[:])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            return f"its values cannot be read ({error})"
        return self._values[written]


def _group_faults(store: Store, known: _KnownMetadata) -> Iterator[str]:
    """Groups of committed cubes and scores that other libraries could not open, or would label wrongly."""
    above: set[str] = set(layout.OTHER_FILES)
    for group in _committed_groups(store, known):
        above.update(map(str, PurePosixPath(group.path).parents[:-1]))
        yield from _damaged_group(known, group)
    for path in sorted(above):
        if _metadata(store.path / path).get("node_type") != "group":
            yield f"{path}: no readable zarr.json"


def _committed_groups(store: Store, known: _KnownMetadata) -> Iterator[ArrayGroup]:
    """The groups of committed cubes and scores as they have to be; records that cannot be read are named with the shards."""
    for marker in sorted((store.path / "manifests").glob("*/checkpoint.json")):
        with suppress(DamagedStore):
            record = read_record(marker, CheckpointRecord.from_json)
            yield from _groups_of(store, known, record)
            yield from _score_groups_of(store, known, record)


def _groups_of(store: Store, known: _KnownMetadata, record: CheckpointRecord) -> Iterator[ArrayGroup]:
    checkpoint, recipe, corpus, tokens = record.checkpoint, store.recipe, store.corpus, store.sampled_tokens
    for site in record.cubes:
        path = layout.cube_path(checkpoint, site, recipe.pooling)
        for plan in known.plans(path, [VALUES]).values():
            yield cube_group(path, plan, corpus.texts["text_id"].to_numpy())
    for site in record.token_cubes:
        path = layout.token_path(checkpoint, site)
        for plan in known.plans(path, [VALUES]).values():
            yield token_group(path, plan, tokens["row"].to_numpy(), tokens["text_id"].to_numpy())
    for site in record.counts:
        path = layout.count_path(checkpoint, site)
        for plan in known.plans(path, [VALUES]).values():
            yield count_group(path, plan, corpus.languages, recipe.count_thresholds)
    for site in record.states:
        path = layout.state_path(checkpoint, site, recipe.pooling)
        yield state_group(path, known.plans(path, list(layout.STATE_ARRAYS)))


def _score_groups_of(store: Store, known: _KnownMetadata, record: CheckpointRecord) -> Iterator[ArrayGroup]:
    for site in record.sites:
        manifest = score_manifest(store.path, record.checkpoint, site, store.recipe.pooling)
        if (manifest / "done.json").is_file():
            scores = read_record(manifest / "settings.json", score_record)
            path = layout.score_path(record.checkpoint, site, store.recipe.pooling)
            yield score_group(path, known.plans(path, scores.stats), scores.languages, scores.concepts)


def _damaged_group(known: _KnownMetadata, group: ArrayGroup) -> Iterator[str]:
    folder = known.root / group.path
    own = _metadata(folder)
    if not own:
        yield f"{group.path}: no readable zarr.json"
    inline = own.get("consolidated_metadata", {}).get("metadata", {})
    for name in (*(coordinate.name for coordinate in group.coordinates), *group.arrays):
        metadata = _metadata(folder / name)
        if not metadata:
            yield f"{group.path}/{name}: no readable zarr.json"
        elif own and metadata != inline.get(name):
            yield f"{group.path}: what its zarr.json says of {name} differs from {name}/zarr.json"
    for coordinate in group.coordinates:
        values = known.coordinate(folder / coordinate.name)
        if isinstance(values, str):
            yield f"{group.path}/{coordinate.name}: {values}"
        elif not np.array_equal(np.asarray(values, dtype=coordinate.values.dtype), coordinate.values):
            yield f"{group.path}/{coordinate.name}: other values than the {coordinate.name} of this store"


def _metadata(folder: Path) -> dict[str, Any]:
    """What zarr.json says; empty where there is none, or none that can be read."""
    try:
        return read_json(folder / "zarr.json")
    except (OSError, ValueError):
        return {}
