"""Taking damaged answers and scores out of a store, so that the next run or question makes them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from actlas.errors import ReadOnlyStore
from actlas.store.log import Change, LogState
from actlas.store.store import Store

#: What is made of what else is in the store.
_DERIVED = ("scores", "tables")


@dataclass(frozen=True)
class Repaired:
    """What `repair` did.

    Attributes:
        retired: What the store does not hold any more, by its name in the log: ``scores/<checkpoint>/<site>.<pooling>`` or
            ``tables/<name>/checkpoint=<checkpoint>``.
        left: Faults of what cannot be made of what is in the store.
    """

    retired: tuple[str, ...]
    left: tuple[str, ...]


def repair(store: Store, damage: Iterable[str]) -> Repaired:
    """Take scores and kept answers with a fault out of the store. Files that are whole stay as they are, and nothing is computed.

    Args:
        store: Open with mode "a".
        damage: The faults that `verify` found.

    Returns:
        What was taken out, and the faults that stay. Those of values, token vectors, counts and states need the model: put a
        whole copy of the file back, or extract the checkpoint into a new store.

    Raises:
        ReadOnlyStore: In mode "r".

    Example:
        >>> from actlas.store import verify
        >>> from actlas.testing import planted_store
        >>> own = actlas.open_store(planted_store(folder / "own.actlas"), "a")
        >>> repair(own, verify(own).damage)
        Repaired(retired=(), left=())
    """
    if store.mode != "a":
        raise ReadOnlyStore(f"{store.path} is open read-only; open it with mode='a' to repair it")
    faults = list(damage)
    if store.log is None:
        return Repaired((), tuple(faults))
    state = store.log.read()
    names = {fault: _name_of(fault.partition(":")[0], state) for fault in faults}
    damaged = sorted({name for name in names.values() if name is not None})
    if damaged:
        store.log.append(lambda now: Change(retires=[name for name in damaged if name in now.holds]))
    return Repaired(tuple(damaged), tuple(fault for fault, name in names.items() if name is None))


def _name_of(path: str, state: LogState) -> str | None:
    """What can be made again that a file is part of."""
    for kind in _DERIVED:
        for name in state.names(kind):
            folders = {file.path.rpartition("/")[0] for file in state.holds[name]}
            if kind == "scores":
                folders |= {_arrays_of(folder) for folder in folders}
                if any(path == folder or path.startswith(f"{folder}/") for folder in folders):
                    return name
            elif any(file.path == path for file in state.holds[name]):
                return name
    return None


def _arrays_of(records: str) -> str:
    """Folder of the scores whose records lie in a folder."""
    _, checkpoint, _, folder = records.split("/")
    return f"scores/{checkpoint}/{folder}"
