"""Parquet files, each by its name alone.

polars and DuckDB take a path for a pattern where it holds ``[``, ``*`` or ``?``, and folders named ``key=value``, wherever they
stand in it, for columns. A store may lie in a folder of any name, so nothing here is left to them: paths are never expanded, and
the column that a folder of the store stands for is given by the caller.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from actlas.errors import DamagedStore, raise_shortage


def parquet_bytes(frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """A frame as the bytes of a Parquet file; the same frame gives the same bytes."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
    frame.write_parquet(buffer, compression="zstd", statistics=True, **options)
    return buffer.getvalue()


def read_parquet(path: Path) -> pl.DataFrame:
    """The rows of a file.

    Raises:
        DamagedStore: If it is missing, or no Parquet file.
    """
    return frame_of(_content(path), path)


def scan_parquet(path: Path, columns: Collection[str] = ()) -> pl.LazyFrame:
    """The rows of a file, lazily.

    Args:
        path: The file.
        columns: Columns that it has to have.

    Raises:
        DamagedStore: If it is missing, or its end, which says what it holds, cannot be read or does not name these columns.
    """
    try:
        # an absolute path, for a first folder called ~ is none of a user
        frame = pl.scan_parquet(path.absolute(), glob=False, hive_partitioning=False)
        found = frame.collect_schema()
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise_shortage(error)
        raise _damaged(path, error) from error
    if missing := [name for name in columns if name not in found]:
        raise DamagedStore(
            f"{path} is not what was written, or of another version of actlas: it has no column {', '.join(missing)}"
        )
    return frame


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a file.

    Raises:
        DamagedStore: As `scan_parquet`.
    """
    return scan_parquet(path).collect_schema().names()


def parquet_metadata(path: Path) -> dict[str, str]:
    """What `parquet_bytes` was given as metadata.

    Raises:
        DamagedStore: As `read_parquet`.
    """
    try:
        return pl.read_parquet_metadata(io.BytesIO(_content(path)))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise_shortage(error)
        raise _damaged(path, error) from error


def frame_of(data: bytes, path: Path) -> pl.DataFrame:
    """The bytes of a Parquet file as a frame.

    Raises:
        DamagedStore: If they are none.
    """
    try:
        return pl.read_parquet(io.BytesIO(data))
    except (Exception, pl.exceptions.PanicException) as error:
        raise_shortage(error)
        # whatever the reader stumbles over, the file is not one that was written here
        raise _damaged(path, error) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise_shortage(error)
        raise DamagedStore(f"{path} is missing or cannot be read ({error.strerror})") from error


def _damaged(path: Path, error: BaseException) -> DamagedStore:
    lines = str(error).strip().splitlines()
    return DamagedStore(f"{path} is not readable as Parquet: {lines[0] if lines else type(error).__name__}")
