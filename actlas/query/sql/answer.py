"""The answer to a query as a frame, within a deadline and a number of rows."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import duckdb
import polars as pl

from actlas.errors import QueryError, is_no_memory

#: Rows that are fetched at once: little enough that a query with too many is ended early.
_BATCH = 100_000


@dataclass(frozen=True)
class Limits:
    """What one query may take.

    Attributes:
        seconds: How long it may run; None for as long as it takes.
        rows: Rows of its answer; None for any number.
    """

    seconds: float | None = None
    rows: int | None = None


NO_LIMITS = Limits()
#: How DuckDB begins what it says of a table that Python reads for it, and could not.
_READING = "reading the stream registered as"
#: How often a query that is over is told so.
_SECONDS_BETWEEN = 0.05
#: What is said of a query for which there was no memory.
TOO_LARGE = "the query needs more memory than is allowed; narrow it down, or allow more (--memory, store.memory_limit)"


def read_answer(relation: Any, limits: Limits = NO_LIMITS) -> pl.DataFrame:
    """A result as polars; decimals and 128-bit sums become the numbers that a user would go on with.

    Args:
        relation: What DuckDB gives for a query that has not run yet.
        limits: Rows that the answer may have.

    Raises:
        QueryError: If there are more rows than that, of which none is given then.
    """
    import pyarrow as pa

    # as a stream, so that an answer that is refused for its size is never whole
    reader = relation.to_arrow_reader(_BATCH)
    table = pa.Table.from_batches(_within(reader, limits), schema=reader.schema)
    return _as_frame(table.rename_columns(distinct_names(reader.schema.names)))


def read_batches(relation: Any, limits: Limits = NO_LIMITS) -> Iterator[pl.DataFrame]:
    """The same in parts of one kind, the first of which is there even without a row; too many rows are refused on the way.

    Args:
        relation: As in `read_answer`.
        limits: Likewise.

    Raises:
        QueryError: If there are too many rows, or a number later on does not fit the type that those of the first part have.
    """
    import pyarrow as pa

    reader = relation.to_arrow_reader(_BATCH)
    names, schema = distinct_names(reader.schema.names), None
    for batch in chain(_within(reader, limits), [None]):
        if batch is None and schema is not None:
            return
        table = pa.Table.from_batches([] if batch is None else [batch], schema=reader.schema).rename_columns(names)
        frame = _as_frame(table)
        schema = schema or frame.schema
        for name in (name for name, dtype in schema.items() if frame.schema[name] != dtype):
            raise QueryError(f"a number in column {name} is larger than those before it; ask for {name}::DOUBLE")
        yield frame


def _within(reader: Any, limits: Limits) -> Iterator[Any]:
    """The batches of a reader.

    Raises:
        QueryError: If there are more rows than is allowed.
    """
    n_rows = 0
    for batch in _told_by_duckdb(reader):
        n_rows += batch.num_rows
        if limits.rows is not None and n_rows > limits.rows:
            raise QueryError(
                f"the answer has more than {limits.rows:,} rows, which is the most that is allowed; "
                "narrow it down, add LIMIT, or allow more (--max-rows, store.max_answer)"
            )
        yield batch


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names of columns, of which a frame has each once: ``a, a`` becomes ``a, a_1``, as DuckDB calls columns of a sub-query."""
    taken, given = set(names), []
    for position, name in enumerate(names):
        free = name
        if name in names[:position]:
            free = next(one for one in (f"{name}_{number}" for number in count(1)) if one not in taken)
        taken.add(free)
        given.append(free)
    return given


def _told_by_duckdb(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches; what goes wrong in DuckDB between two of them comes as its own kind of error, not as one of Arrow."""
    import pyarrow as pa

    try:
        yield from batches
    except (OSError, pa.ArrowException) as error:
        if "INTERRUPT" in str(error):
            raise duckdb.InterruptException(str(error)) from error
        raise (duckdb.OutOfMemoryException if is_no_memory(error) else duckdb.Error)(str(error)) from error


def _as_frame(table: Any) -> pl.DataFrame:
    """An Arrow table as polars.

    Raises:
        QueryError: If polars has no such type as a column of it.
    """
    try:
        frame = pl.from_arrow(table)
    except pl.exceptions.ComputeError as error:
        columns = ", ".join(f"{column.name}: {column.type}" for column in table.schema)
        raise QueryError(
            "the answer has a column of a type that no frame holds, such as INTERVAL or UNION; "
            f"cast it, x::VARCHAR (columns: {columns})"
        ) from error
    assert isinstance(frame, pl.DataFrame)
    return _with_plain_numbers(frame)


def _with_plain_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Decimal):
            plain = frame[name].cast(pl.Int64 if dtype.scale == 0 else pl.Float64, strict=False)
            if plain.null_count() == frame[name].null_count():
                frame = frame.with_columns(plain)
    return frame


def took_too_long(seconds: float) -> str:
    """What is said of a query that was ended."""
    return (
        f"the query was ended after {seconds:g} seconds, which is the most that is allowed; "
        "narrow it down, or allow more (--timeout, store.timeout)"
    )


def hear_ctrl_c() -> None:
    """Let Ctrl-C end a wait, as in plain Python: once polars is imported, a wait goes on after a signal, heard only behind it."""
    if hasattr(signal, "siginterrupt"):
        signal.siginterrupt(signal.SIGINT, True)


@contextmanager
def deadline(
    connection: duckdb.DuckDBPyConnection, seconds: float | None, end: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """End whatever a connection does inside after so many seconds; None lets it go on.

    Args:
        connection: Of DuckDB.
        seconds: How long it may take.
        end: Is called when it is over.

    Raises:
        QueryError: If it was ended, or there was no memory for it.
    """
    is_over, is_done = threading.Event(), threading.Event()

    def watch() -> None:
        if not is_done.wait(seconds):
            is_over.set()
            end()
            # a query asks for others first: between two of them none would hear it
            connection.interrupt()
            while not is_done.wait(_SECONDS_BETWEEN):
                connection.interrupt()

    watching = threading.Thread(target=watch, name="actlas-deadline", daemon=True)
    if seconds is not None:
        watching.start()
    try:
        yield
    except duckdb.InterruptException as error:
        if seconds is not None and is_over.is_set():
            raise QueryError(took_too_long(seconds)) from error
        raise
    except Exception as error:
        if _had_no_memory(error):
            raise QueryError(TOO_LARGE) from error
        raise
    finally:
        is_done.set()
        if seconds is not None:
            watching.join()


def _had_no_memory(error: Exception) -> bool:
    if not isinstance(error, duckdb.Error):
        return is_no_memory(error)
    # texts of other errors of DuckDB may quote values; those of tables that Python reads for it quote what failed there
    return isinstance(error, duckdb.OutOfMemoryException) or (_READING in str(error) and is_no_memory(error))
