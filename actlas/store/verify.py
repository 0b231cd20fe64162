"""Is a store what its commit records say? Sizes, checksums of every shard and chunk, and records that name each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import zarr

from actlas.store.files.atomic import read_json
from actlas.store.files.shard_reader import damaged_chunks, plan_of
from actlas.store.layout import ArrayPlan
from actlas.store.records import ShardRecord
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


def verify(store: Store, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Read every committed shard and compare it with its commit record.

    Args:
        store: The store.
        progress: Called with (shards done, shards in all).

    Returns:
        Counts, and every fault found: it never stops at the first.
    """
    damage = list(_manifest_faults(store))
    records = list(_records(store, damage))
    n_bytes = 0
    plans: dict[str, ArrayPlan | None] = {}
    for done, record in enumerate(records, start=1):
        path = record.path.partition("/c/")[0]
        if path not in plans:
            plans[path] = _plan_on_disk(store.path, path)
        plan = plans[path]
        if plan is None:
            damage.append(f"{path}: no readable zarr.json")
        else:
            damage.extend(damaged_chunks(store.path, record, plan))
        n_bytes += record.n_bytes
        if progress is not None:
            progress(done, len(records))
    return Verified(len(records), n_bytes, tuple(dict.fromkeys(damage)))


def _records(store: Store, damage: list[str]) -> Iterator[ShardRecord]:
    for path in sorted((store.path / "manifests").rglob("*.json")):
        try:
            content = read_json(path)
        except ValueError as error:
            damage.append(f"{path.relative_to(store.path)}: not readable as JSON ({error})")
            continue
        for shard in content.get("shards", ()):
            yield ShardRecord(**shard)


def _manifest_faults(store: Store) -> Iterator[str]:
    """Committed checkpoints whose blocks do not cover the texts."""
    for checkpoint in store.checkpoints:
        folder = store.path / "manifests" / checkpoint / "blocks"
        spans = []
        for path in sorted(folder.glob("*.json")):
            try:
                block = read_json(path)
            except ValueError:
                continue  # reported with the records
            spans.append((block["start"], block["stop"]))
        at = 0
        for start, stop in sorted(spans):
            if start != at:
                yield f"manifests/{checkpoint}: no commit record for texts {at:,} to {start:,}"
            at = stop
        if at != store.corpus.n_texts:
            yield f"manifests/{checkpoint}: no commit record for texts {at:,} to {store.corpus.n_texts:,}"


def _plan_on_disk(root: Path, path: str) -> ArrayPlan | None:
    try:
        array = zarr.open_array(root / path, mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return plan_of(array)
