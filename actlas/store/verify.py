"""Is a store what its commit records say? Sizes, checksums of every shard and chunk, and records that name each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zarr

from actlas.errors import DamagedStore
from actlas.store.files.shard_reader import damaged_chunks, plan_of
from actlas.store.layout import ArrayPlan
from actlas.store.records import ShardRecord, block_record, read_record
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
    """Read every committed shard and compare it with its commit record.

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
    plans: dict[str, ArrayPlan | None] = {}
    for done, shard in enumerate(shards, start=1):
        path = shard.path.partition("/c/")[0]
        if path not in plans:
            plans[path] = _plan_on_disk(store.path, path)
        plan = plans[path]
        if plan is None:
            damage.append(f"{path}: no readable zarr.json")
        else:
            damage.extend(damaged_chunks(store.path, shard, plan))
        n_bytes += shard.n_bytes
        if progress is not None:
            progress(done, len(shards))
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


def _plan_on_disk(root: Path, path: str) -> ArrayPlan | None:
    try:
        array = zarr.open_array(root / path, mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return plan_of(array)
