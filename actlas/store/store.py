"""`Store`: open a store, see what it holds, read and keep things in it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from actlas.store.contents.cubes import Cubes
from actlas.store.contents.scores import Scores
from actlas.store.contents.tables import KeptTables
from actlas.store.records import read_about


class Store(KeptTables, Scores, Cubes):
    """A store on disk. Only what was committed can be seen through it.

    Args:
        path: Folder of the store.
        mode: "r" refuses every write; "a" lets scores and tables be kept beside the cubes. Neither changes a cube.

    Raises:
        StoreNotFound: If there is no store at `path`.
        FormatTooNew: If a later version of actlas wrote it.
    """

    @classmethod
    def at(cls, path: Path | str, mode: str = "r") -> Self | None:
        """The store at a path; None where there is none yet.

        Args:
            path: Folder that may hold a store.
            mode: As in `Store`.

        Returns:
            The store, or None.

        Raises:
            FormatTooNew: If a later version of actlas wrote it.

        Example:
            >>> Store.at("no/such/folder") is None
            True
        """
        return cls(path, mode) if read_about(Path(path)) is not None else None
