"""Files of a store that no record names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Folders whose files are the store's alone; what else lies beside them is left to its owner.
_OWN = ("corpus", "cubes", "tokens", "counts", "states", "scores", "tables", "manifests", "log")
_AT_WORK = (".tmp", ".claim")
#: What a run counts with before a checkpoint is complete; one that was killed leaves them, and the next one removes them.
_PARTS = re.compile(r"manifests/[^/]+/(states/.+|blocks/[^/]+\.npy)")


def stray_faults(root: Path, named: Iterable[str], unfinished: Iterable[str]) -> Iterator[str]:
    """One line for every file, or whole folder, that nothing names.

    Args:
        root: Folder of the store.
        named: Files that something names, by their path inside the store.
        unfinished: Folders that a run may be writing into.
    """
    folders = list(unfinished)
    known, begun = set(named), tuple(f"{folder}/" for folder in folders)
    above = {parent for path in known for parent in _parents(path)}
    # the groups above what a run writes are its own, too, before anything in them is committed
    known |= {f"{parent}/zarr.json" for folder in folders for parent in _parents(folder)}
    strays: dict[str, int] = {}
    for folder in _OWN:
        for path in sorted((root / folder).rglob("*")):
            name = str(path.relative_to(root))
            is_at_work = path.suffix in _AT_WORK or _PARTS.fullmatch(name) is not None
            if is_at_work or name in known or name.startswith(begun) or path.is_dir():
                continue
            # the highest folder of which no file is named
            highest = next((parent for parent in _parents(name) if parent not in above and "/" in parent), name)
            strays[highest] = strays.get(highest, 0) + 1
    for name, count in strays.items():
        yield f"{name}: " + ("no record names it" if (root / name).is_file() else f"no record names any of its {count:,} files")


def _parents(path: str) -> list[str]:
    """Folders above a path, the highest first."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]
