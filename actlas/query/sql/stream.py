"""Grids as DuckDB reads them: a stream of Arrow batches that holds a few at a time and ends when no more rows are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from duckdb._sources import ArrowScanSource
from duckdb._sources.nodes import Col, Node, Untranslatable
from duckdb._sources.to_polars import to_polars

from actlas.errors import ActlasError, QueryError
from actlas.query.sql.grids import BATCH_ROWS, Grid, Region
from actlas.query.sql.scan import axis_of, narrowed, too_many

if TYPE_CHECKING:
    from actlas.query.sql.grids import Batch


class GridSource(ArrowScanSource):
    """One grid, or a region of it, for one query or many.

    Args:
        grid: The table.
        region: Rows outside it are not there; None for all.
        max_rows: A scan that would read more of them is refused; None for any number.
        refusals: Takes the errors raised while DuckDB runs, which wraps them in its own.
    """

    # what is in a store does not change under a connection to it
    schema_is_stable = True

    def __init__(self, grid: Grid, region: Region | None, max_rows: int | None, refusals: list[ActlasError]) -> None:
        super().__init__(grid)
        self._grid, self._region, self._max_rows, self._refusals = grid, region, max_rows, refusals
        self._schema = pa.schema([(name, _arrow_type(dtype)) for name, dtype in grid.schema.items()])

    def __arrow_c_schema__(self) -> object:
        """Columns and their types."""
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All of it: what DuckDB knows the kind of an object by; it then asks `stream`."""
        return self.stream(None, ())[0]

    def rows(self) -> int:
        """How many there are without a filter, by which DuckDB orders its joins."""
        return self._grid.n_rows(narrowed(self._grid, self._region, ()))

    def accepts(self, predicate: Node) -> bool:
        """Whether a filter is applied here: one that speaks of a single axis, whose labels are few."""
        axis = axis_of(self._grid, _columns(predicate))
        if axis is None:
            return False
        try:
            to_polars(predicate, self._grid.axes[axis].schema)
        except Untranslatable:
            return False
        return True

    def stream(self, columns: Sequence[int] | None, filters: Sequence[Node]) -> tuple[object, bool]:
        """Batches with these columns, of the rows that pass the filters."""
        by_axis = [(str(axis_of(self._grid, _columns(node))), node) for node in filters]
        region = narrowed(
            self._grid, self._region, [(axis, to_polars(node, self._grid.axes[axis].schema)) for axis, node in by_axis]
        )
        n_rows = self._grid.n_rows(region)
        if self._max_rows is not None and n_rows > self._max_rows:
            error = QueryError(too_many(self._grid, n_rows, self._max_rows))
            self._refusals.append(error)
            raise error
        if columns is not None and not len(columns):
            # a count: rows without values, made once
            return _reader(self._schema, self._empty(n_rows)), False
        schema = self._schema if columns is None else pa.schema([self._schema.field(at) for at in columns])
        batches = self._telling(self._grid.batches(region, schema.names))
        return _reader(schema, (batch.record(schema) for batch in batches)), columns is not None

    def _empty(self, n_rows: int) -> Iterator[pa.RecordBatch]:
        size = min(n_rows, BATCH_ROWS)
        nothing = pa.RecordBatch.from_arrays([pa.nulls(size, column.type) for column in self._schema], schema=self._schema)
        for start in range(0, n_rows, max(size, 1)):
            yield nothing.slice(0, min(size, n_rows - start))

    def _telling(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            yield from batches
        except ActlasError as error:
            self._refusals.append(error)
            raise


def _reader(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> object:
    return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__()


def _arrow_type(dtype: pl.DataType) -> pa.DataType:
    """Strings as positions in a short list: DuckDB then keeps one string for many rows."""
    if dtype == pl.String:
        return pa.dictionary(pa.int32(), pa.string())
    arrow: pa.DataType = pl.Series([], dtype=dtype).to_arrow().type
    return arrow


def _columns(predicate: Node) -> set[str]:
    """Columns that a filter speaks of."""
    stack: list[Any] = [predicate]
    names = set()
    while stack:
        node = stack.pop()
        if isinstance(node, Col):
            names.add(node.parts[0])
        stack.extend(node._children())
    return names
