"""What a process that answers queries and the one that asks it say to each other: a header in JSON, and a frame as Arrow."""

from __future__ import annotations

import io
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import msgspec
import polars as pl

from actlas.errors import QueryError

#: Exit status of a process that has no memory left to say so.
NO_MEMORY = 77


class Settings(msgspec.Struct, frozen=True):
    """What a worker is started with.

    Attributes:
        store: Folder of the store.
        timeout: Seconds that one query may take.
        memory: Bytes that the process may take beyond those that it starts with.
        max_rows: Rows that an answer may have.
        threads: Threads of DuckDB.
    """

    store: str
    timeout: float
    memory: int
    max_rows: int
    threads: int


class Asked(msgspec.Struct, frozen=True):
    """A query; with it goes a frame of one row, its parameters.

    Attributes:
        query: What `Store.sql` takes.
        most: Rows of the answer that are handed over; None for all.
        stores: Label -> folder of another store that it names.
        kind: Format of a file that the answer is handed over as, in parts; None for a frame.
    """

    query: str
    most: int | None = None
    stores: dict[str, str] = {}
    kind: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """An answer; with it goes its frame. Also sent once when a worker is ready.

    Attributes:
        error: Class and text of what went wrong instead.
        warnings: Logger and text of what was warned of.
        is_last: Whether the worker ends after it.
        n_rows: Rows that the answer has, handed over or not.
        is_part: Whether it is a part of a file, and more is said.
    """

    error: tuple[str, str] | None = None
    warnings: list[tuple[str, str]] = []
    is_last: bool = False
    n_rows: int = 0
    is_part: bool = False


Header = TypeVar("Header", Asked, Answered)


def send(connection: Connection, header: Asked | Answered, body: bytes | memoryview = b"") -> None:
    """Send a header and the bytes that go with it."""
    connection.send_bytes(msgspec.json.encode(header))
    connection.send_bytes(body)


def receive(connection: Connection, kind: type[Header]) -> tuple[Header, bytes]:
    """The next header and its bytes.

    Raises:
        EOFError: If the other side is gone.
    """
    return msgspec.json.decode(connection.recv_bytes(), type=kind), connection.recv_bytes()


def arrow(frame: pl.DataFrame) -> memoryview:
    """A frame as an Arrow stream, in types that every reader of Arrow knows."""
    stream = io.BytesIO()
    frame.write_ipc_stream(stream, compat_level=pl.CompatLevel.oldest())
    return stream.getbuffer()


def packed(params: Mapping[str, Any]) -> bytes | memoryview:
    """Parameters of a query as the one row of a frame.

    Raises:
        QueryError: If a value is of no type that a column has.
    """
    columns = []
    for name, value in params.items():
        try:
            column = pl.Series(name, [value])
            if column.dtype == pl.Object:
                raise TypeError("an object of Python has no value elsewhere")
            arrow(pl.DataFrame(column))
        except Exception as error:  # whatever polars says of a type that it does not know
            raise QueryError(f"${name} has a value that SQL has no type for: {type(value).__name__}") from error
        columns.append(column)
    return arrow(pl.DataFrame(columns)) if columns else b""


def unpacked(body: bytes) -> dict[str, Any]:
    """What `packed` packed."""
    return pl.read_ipc_stream(io.BytesIO(body)).row(0, named=True) if body else {}
