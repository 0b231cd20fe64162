"""Parts of kept tables: which there are, where their files lie, and how one takes the place of another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from actlas.store import layout
from actlas.store.files.atomic import clear_temporaries, write_atomically
from actlas.store.files.digests import file_record
from actlas.store.files.locks import SharedClaim, writers_claim
from actlas.store.log import Change, Log, LogState, check_unlogged

#: Name of a table, checkpoint, and the settings that it was made with, None for what the table itself shows.
Part = tuple[str, str, str | None]

_NAME = re.compile(r"tables/([^/]+)/(?:settings=([^/]+)/)?checkpoint=([^/]+)")


def part_name(part: Part) -> str:
    """What a part is called in the log: the folder that it would lie in.

    Example:
        >>> part_name(("experts", "step64", None)), part_name(("experts", "step64", "0a1b2c3d"))
        ('tables/experts/checkpoint=step64', 'tables/experts/settings=0a1b2c3d/checkpoint=step64')
    """
    return layout.table_path(*part).removesuffix("/part.parquet")


class Tables:
    """The tables of one store.

    With a log, a file is written once, under a name of its own, and never moved: the log says what it is part of. Without
    one, what lies in a folder is what the folder is called.

    Args:
        root: Folder of the store.
        log: Its log; None in a store of an earlier version.
    """

    def __init__(self, root: Path, log: Log | None) -> None:
        self._root, self._log = root, log
        self._known: tuple[object, dict[Part, Path]] = (None, {})

    def parts(self) -> dict[Part, Path]:
        """The file of every part."""
        if self._log is None:
            return _found(self._root)
        state = self._log.read()
        if self._known[0] is not state:
            files = {_NAME.fullmatch(name): state.holds[name][0].path for name in state.names("tables")}
            self._known = (state, {(m[1], m[3], m[2]): self._root / path for m, path in files.items() if m is not None})
        return self._known[1]

    def publish(
        self, part: Part, data: bytes, moves: Mapping[Part, Part], drops: Sequence[Part], only_if: Callable[[], bool]
    ) -> bool:
        """Keep a part, and move and drop others in the same step; see `Store.publish_table`."""
        if self._log is None:
            with SharedClaim.hold(writers_claim(self._root)):
                check_unlogged(self._root)
                return self._publish_unlogged(part, data, moves, drops, only_if)
        name, before = part_name(part), self._log.read()
        record = file_record("", data)
        # a number of its own: a process that removes an earlier part of this name never meets this file
        path = f"{name}/part-{before.n_added.get(name, 0) + 1}-{record.digest[:8]}.parquet"
        write_atomically(self._root / path, [data])

        def change(state: LogState) -> Change | None:
            if not only_if():
                return None
            gone = [part_name(one) for one in (*moves, *drops)]
            moved = {part_name(new): state.holds[part_name(old)] for old, new in moves.items() if part_name(old) in state.holds}
            return Change({**moved, name: (file_record(path, data),)}, [one for one in gone if one in state.holds])

        after = self._log.append(change)
        is_kept = any(file.path == path for file in after.holds.get(name, ()))
        if not is_kept and not _is_named(after, path):
            (self._root / path).unlink(missing_ok=True)
        self._remove_retired(after, part[0])
        return is_kept

    def _remove_retired(self, state: LogState, table: str) -> None:
        """Remove files that were part of a table once, also those that a killed writer left; others may be about to be named."""
        for path in state.retired:
            if path.startswith(f"tables/{table}/"):
                (self._root / path).unlink(missing_ok=True)

    def _publish_unlogged(
        self, part: Part, data: bytes, moves: Mapping[Part, Part], drops: Sequence[Part], only_if: Callable[[], bool]
    ) -> bool:
        if not only_if():
            return False
        for old, new in moves.items():
            target = self._root / layout.table_path(*new)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._root / layout.table_path(*old), target)
        file = self._root / layout.table_path(*part)
        write_atomically(file, [data])
        clear_temporaries(file.parent)
        for one in drops:
            (self._root / layout.table_path(*one)).unlink(missing_ok=True)
        return True


def _is_named(state: LogState, path: str) -> bool:
    return any(file.path == path for name in state.names("tables") for file in state.holds[name])


def _found(root: Path) -> dict[Part, Path]:
    """The parts that lie in the folders of a store without a log."""
    parts: dict[Part, Path] = {}
    tables = str(root / "tables")
    for name in _folder_names(tables):
        within = _folder_names(f"{tables}/{name}")
        variants = [one for one in within if one.startswith("settings=")]
        for variant, folder in ((None, f"{tables}/{name}"), *((one, f"{tables}/{name}/{one}") for one in variants)):
            for one in within if variant is None else _folder_names(folder):
                file = f"{folder}/{one}/part.parquet"
                if one.startswith("checkpoint=") and os.path.isfile(file):
                    parts[name, one.removeprefix("checkpoint="), variant and variant.removeprefix("settings=")] = Path(file)
    return parts


def _folder_names(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_dir()}
    except FileNotFoundError:
        return set()
