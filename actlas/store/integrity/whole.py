"""`verify`: everything that a store's records name, compared with what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actlas.store.integrity.logged import verify_logged
from actlas.store.integrity.unlogged import Unlogged
from actlas.store.store import Store


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes:
        n_shards: Shards whose bytes were read.
        n_bytes: Their size.
        damage: One line per fault, which begins with the path of the file; empty where the store is whole.
        has_log: Whether a log names every file with its digest. Stores of earlier versions have none: two of their shards that
            were swapped, or another part of a table, can pass for whole.
    """

    n_shards: int
    n_bytes: int
    damage: tuple[str, ...]
    has_log: bool = True


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
    found = Unlogged(store).run(progress) if store.log is None else verify_logged(store, store.log.read(), progress)
    return Verified(found.n_shards, found.n_bytes, tuple(dict.fromkeys(found.faults)), store.log is not None)
