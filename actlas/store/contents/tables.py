"""`KeptTables`: answers that are kept beside the cubes, one Parquet file per checkpoint and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import DamagedStore, TableNotFound
from actlas.store.contents.checkpoints import Checkpoints
from actlas.store.contents.parts import Part, Tables
from actlas.store.files.parquet import parquet_bytes, parquet_metadata


class KeptTables(Checkpoints):
    """Tables of a store: what was asked once and is looked up since."""

    def __init__(self, path: Path | str, mode: str = "r") -> None:
        super().__init__(path, mode)
        self._tables = Tables(self.path, self.log)

    def publish_table(
        self,
        name: str,
        checkpoint: str,
        frame: pl.DataFrame,
        settings: Mapping[str, Any],
        *,
        variant: str | None = None,
        moves: Mapping[Part, Part] | None = None,
        drops: Sequence[Part] = (),
        only_if: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Keep an answer as the part of a table for one checkpoint; readers see the old one or the new one.

        Args:
            name: Name of the table.
            checkpoint: Its partition; the frame's own checkpoint column, if any, is left to the folder name.
            frame: Rows.
            settings: What decided the numbers (k, seeds, versions), kept in the file's metadata.
            variant: Keep it beside, as made with other settings, without touching what the table itself holds.
            moves: Parts that go elsewhere in the same step: (name, checkpoint, variant) -> likewise.
            drops: Parts that are not there any more, in the same step.
            only_if: Asked right before; asked again where another process was first.

        Returns:
            Whether it was kept: False where `only_if` said no.

        Raises:
            ReadOnlyStore: In mode "r".

        Example:
            >>> from actlas.testing import planted_store
            >>> own = actlas.open_store(planted_store(folder / "own.actlas"), "a")
            >>> own.publish_table("notes", "planted-step0", pl.DataFrame({"note": ["a first look"]}), {"by": "hand"})
            True
            >>> own.scan("notes").collect().rows()
            [('a first look', 'planted-step0')]
        """
        self._refuse_read_only(f"table {name}")
        data = parquet_bytes(
            frame.drop("checkpoint", strict=False), {"actlas_settings": json.dumps(dict(settings), sort_keys=True)}
        )
        return self._tables.publish((name, checkpoint, variant), data, moves or {}, drops, only_if)

    def table_names(self) -> list[str]:
        """Tables that were computed for at least one checkpoint.

        Returns:
            Their names, sorted.

        Example:
            >>> {"experts", "overlap"} <= set(store.table_names())
            True
        """
        return sorted({name for name, _, variant in self._tables.parts() if variant is None})

    def table_parts(self) -> dict[str, dict[str | None, list[Path]]]:
        """The files of all tables, found at once.

        Returns:
            Name of a table -> variant as in `table_variants`, None for the table itself -> its files, as in `table_files`.

        Example:
            >>> [path.parent.name for path in store.table_parts()["experts"][None]]
            ['checkpoint=planted-step0', 'checkpoint=planted-step64', 'checkpoint=planted-step128']
        """
        parts, order = self._tables.parts(), {checkpoint: at for at, checkpoint in enumerate(self.checkpoints)}
        tables: dict[str, dict[str | None, list[Path]]] = {}
        for part in sorted(
            (part for part in parts if part[1] in order), key=lambda part: (part[0], part[2] or "", order[part[1]])
        ):
            tables.setdefault(part[0], {}).setdefault(part[2], []).append(parts[part])
        return tables

    def part_files(self) -> dict[Part, Path]:
        """The file of every part of every table, also of those for checkpoints that are not there.

        Returns:
            (name, checkpoint, variant) -> its file, which is not looked at.

        Example:
            >>> store.part_files()["experts", "planted-step64", None].parent.name
            'checkpoint=planted-step64'
        """
        return self._tables.parts()

    def table_variants(self, name: str) -> list[str]:
        """The settings, other than those of the table itself, with which a table is kept too.

        Args:
            name: Name of the table.

        Returns:
            What `publish_table` calls `variant`, sorted.

        Example:
            >>> store.table_variants("experts")
            []
        """
        return sorted({variant for its_name, _, variant in self._tables.parts() if its_name == name and variant is not None})

    def table_files(self, name: str, variant: str | None = None) -> list[Path]:
        """Parquet files of a table.

        Args:
            name: Name of the table.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            One file per checkpoint in order of step; none where it was never computed.

        Raises:
            DamagedStore: If one of them is not what was committed.

        Example:
            >>> [file.suffix for file in store.table_files("experts")]
            ['.parquet', '.parquet', '.parquet']
        """
        files = [self.table_file(name, checkpoint, variant) for checkpoint in self.checkpoints]
        return [file for file in files if file is not None]

    def table_file(self, name: str, checkpoint: str, variant: str | None = None) -> Path | None:
        """The part of a table for one checkpoint.

        Args:
            name: Name of the table.
            checkpoint: Which part of it.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            Its file; None where there is none.

        Raises:
            DamagedStore: If it is not what was committed.

        Example:
            >>> store.table_file("experts", "planted-step63") is None
            True
        """
        file = self._tables.parts().get((name, checkpoint, variant))
        return None if file is None else self.checked(file)

    def table_settings(self, name: str, checkpoint: str, variant: str | None = None) -> dict[str, Any]:
        """The settings that a table was published with.

        Args:
            name: Name of the table.
            checkpoint: Which part of it.
            variant: One of `table_variants`; None for the table itself.

        Returns:
            Names of settings to what they were.

        Raises:
            TableNotFound: If it was not computed for this checkpoint.

        Example:
            >>> store.table_settings("experts", "planted-step64")["k"]
            6
        """
        path = self.table_file(name, checkpoint, variant)
        if path is None:
            raise TableNotFound(
                f"table {name} was not computed for {checkpoint}; there are {', '.join(self.table_names()) or 'none'}"
            )
        return table_settings(path)


def table_settings(path: Path) -> dict[str, Any]:
    """What a part of a table was published with, as its file says."""
    try:
        settings: dict[str, Any] = json.loads(parquet_metadata(path)["actlas_settings"])
    except (KeyError, ValueError) as error:
        raise DamagedStore(f"{path} does not say what it was made with ({error})") from error
    return settings
